// My Pages work without this. It copies codes, prints, leads to what is wrong in a form, and sends a form once.
(() => {
  "use strict";
  const all = (selector, act) => document.querySelectorAll(selector).forEach(act);

  all("[data-mp-copy]", (button) => {
    if (!navigator.clipboard) return;
    const words = [...button.childNodes];
    const said = document.createElement("span");
    said.className = "mp-hidden";
    said.setAttribute("role", "status");
    button.after(said);
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.mpCopy);
      } catch {
        // the browser does not allow it: mark the code, so that the shopper can copy it by hand
        getSelection().selectAllChildren(button.parentElement.querySelector("code"));
        return;
      }
      button.textContent = said.textContent = button.dataset.mpDone;
      setTimeout(() => {
        button.replaceChildren(...words);
        said.textContent = "";
      }, 2500);
    });
  });

  all("[data-mp-print]", (button) => {
    button.hidden = false;
    button.addEventListener("click", () => print());
  });

  all("[data-mp-focus]", (element) => element.focus());

  all("[data-mp-once]", (form) => {
    form.addEventListener("submit", (event) => {
      if (form.dataset.mpSent) event.preventDefault();
      form.dataset.mpSent = "yes";
    });
    // a page that comes back from the browser's history may be sent again
    addEventListener("pageshow", () => delete form.dataset.mpSent);
  });
})();
