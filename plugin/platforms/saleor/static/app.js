// The Dashboard hands over a token by postMessage ("handshake"); with it this page asks the plugin what is connected.
"use strict";

const line = document.getElementById("status");
const table = document.getElementById("webhooks");

function say(text, wrong) {
  line.textContent = text;
  line.className = wrong ? "wrong" : "";
}

function show(found) {
  const problems = found.webhooks.filter((webhook) => webhook.problem).length;
  if (found.problem) {
    say("Not connected: " + found.problem, true);
  } else if (problems) {
    say(found.name + " is connected, but " + problems + " of its events do not arrive as they should.", true);
  } else {
    say(found.name + " is connected.", false);
  }
  const rows = found.webhooks.map((webhook) => {
    const row = document.createElement("tr");
    for (const text of [webhook.topic, webhook.problem || "arrives"]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    if (webhook.problem) row.lastChild.className = "wrong";
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
}

async function ask(token) {
  try {
    const answer = await fetch(document.body.dataset.status, { headers: { Authorization: "Bearer " + token } });
    const found = await answer.json();
    if (answer.ok) show(found);
    else say(found.error ? found.error.message : "The plugin answered " + answer.status + ".", true);
  } catch {
    say("The plugin did not answer.", true);
  }
}

window.addEventListener("message", (event) => {
  if (event.source !== window.parent || window.parent === window) return;
  const message = event.data;
  if (message && (message.type === "handshake" || message.type === "tokenRefresh") && message.payload) {
    if (typeof message.payload.token === "string") ask(message.payload.token);
  }
});

// an older Dashboard sends the token when the frame has loaded, a newer one once it is told that somebody listens
if (window.parent !== window) {
  window.parent.postMessage({ type: "notifyReady", payload: { actionId: "ready" } }, "*");
}
