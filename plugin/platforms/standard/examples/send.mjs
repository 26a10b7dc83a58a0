import { createHmac } from "node:crypto";

const URL = "WEBHOOK_URL";
const SECRET = "WEBHOOK_SECRET";

async function send(eventId, body) {
  const raw = JSON.stringify(body);
  const now = Math.floor(Date.now() / 1000);
  const key = Buffer.from(SECRET.replace(/^whsec_/, ""), "base64");
  const signature = createHmac("sha256", key).update(`${eventId}.${now}.${raw}`).digest("base64");
  const answer = await fetch(URL, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "webhook-id": eventId,
      "webhook-timestamp": String(now),
      "webhook-signature": `v1,${signature}`,
    },
    body: raw,
    signal: AbortSignal.timeout(10000),
  });
  if (!answer.ok) throw new Error(`answered ${answer.status}`);
  return answer.text();
}

const customer = { id: "1001", email: "ada@example.com", email_verified: true, first_name: "Ada" };
const event = { type: "customer.created", timestamp: new Date().toISOString(), data: { customer } };
console.log(await send("customer-1001-1", event));
