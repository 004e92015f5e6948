// Forms that act: <form method="post" data-action>. The server asks first where something would be
// lost, and says what it did; see Action in api/ui/page.py.

const TOAST_MILLISECONDS = 8000;
const TOASTS_MAX = 4;
const toasts = document.getElementById("toasts");
const dialog = document.getElementById("ask");

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Say something for a while, with a way back if there is one. */
export function toast({ text, undo = null, failed = false }) {
  const close = make("button", { type: "button", className: "button plain", textContent: "Close" });
  const shown = make("div", { className: failed ? "toast failed" : "toast" }, make("p", { textContent: text }));
  if (undo) {
    const back = make("button", { type: "button", className: "button", textContent: "Undo" });
    back.addEventListener("click", () => {
      shown.remove();
      const fields = new URLSearchParams(undo.fields);
      send(new URL(undo.path, new URL(document.documentElement.dataset.root, location.href)), fields);
    });
    shown.append(back);
  }
  shown.append(close);
  close.addEventListener("click", () => shown.remove());
  toasts.append(shown);
  while (toasts.children.length > TOASTS_MAX) toasts.firstElementChild.remove();
  let timer = 0;
  const leave = () => { timer = setTimeout(() => shown.remove(), TOAST_MILLISECONDS); };
  shown.addEventListener("pointerenter", () => clearTimeout(timer));
  shown.addEventListener("pointerleave", leave);
  shown.addEventListener("focusin", () => clearTimeout(timer));
  shown.addEventListener("focusout", leave);
  leave();
}

/** A question; resolves to the fields it was answered with, or null. */
function answer(ask) {
  const form = make("form", { method: "dialog" });
  form.append(make("h2", { id: "ask-title", textContent: ask.title }), make("p", { className: "quiet", textContent: ask.text }));
  if (ask.lost.length) {
    const list = make("ul", { className: "lost" });
    list.append(...ask.lost.map((one) => make("li", { textContent: one })));
    form.append(list);
  }
  if (ask.fields.length) {
    const fields = make("div", { className: "fields" });
    for (const [name, options] of ask.fields) {
      const label = name === "to" ? "State" : name[0].toUpperCase() + name.slice(1);
      const field = options ? make("select", { name }) : make("input", { name, type: "text", maxLength: 1000, autocomplete: "off" });
      if (options) {
        for (const option of options.split(",")) field.append(make("option", { value: option, textContent: option[0] + option.slice(1).toLowerCase() }));
      }
      fields.append(make("label", { textContent: label }, field));
    }
    form.append(fields);
  }
  const loses = ask.lost.length > 0;
  form.append(make("div", { className: "buttons" },
    make("button", { className: "button", value: "", textContent: "Cancel", formNoValidate: true, autofocus: loses }),
    make("button", { className: loses ? "button primary danger" : "button primary", value: "yes", textContent: ask.button })));
  // Enter in a field means the button that does it, not the first one.
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input, select")) { event.preventDefault(); dialog.close("yes"); }
  });
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? new FormData(form) : null), { once: true });
  });
}

/** Send a form's fields to an action; resolves to what it said, or null if it was not meant. */
export async function send(address, fields) {
  let told;
  try {
    const response = await fetch(address, { method: "POST", body: fields, headers: { accept: "application/json" } });
    told = await response.json();
  } catch {
    toast({ text: "The server did not answer. Nothing is known to have changed; try again.", failed: true });
    return null;
  }
  if (told.ask) {
    const answered = await answer(told.ask);
    if (answered === null) return null;
    const more = new URLSearchParams(fields);
    for (const [name, value] of answered) more.set(name, value);
    more.set("confirmed", "1");
    return send(address, more);
  }
  toast(told.said);
  return told.said;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-action]")) return;
  event.preventDefault();
  const address = event.submitter?.formAction || form.action;
  const said = await send(address, new URLSearchParams(new FormData(form, event.submitter)));
  if (said && !said.failed) form.dispatchEvent(new CustomEvent("pluperfect:acted", { bubbles: true, detail: said }));
});
