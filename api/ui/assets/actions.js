// Forms that act: <form method="post" data-action>. The server asks first where something would be
// lost, and says what it did; see Action and Said in api/ui/page.py.

import { mark } from "./fields.js";
import { tell } from "./times.js";

const SAID = "said";
const TOAST_MILLISECONDS = 8000;
const TOASTS_MAX = 4;
const TWICE_MILLISECONDS = 700; // Two clicks within this are one that was meant.
const toasts = document.getElementById("toasts");
const dialog = document.getElementById("ask");

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Say something for a while, with a way back or on if there is one. */
export function toast({ text, undo = null, failed = false, link = null }) {
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
  if (link) shown.append(make("a", { className: "button", textContent: link[0], href: new URL(link[1], new URL(document.documentElement.dataset.root, location.href)) }));
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
  const title = form.firstElementChild;
  if (title.scrollHeight > title.clientHeight) title.tabIndex = 0; // So that keys can scroll it.
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? new FormData(form) : null), { once: true });
  });
}

/** Send a form's fields to an action; resolves to what it said, or null if it was not meant. What is
    wrong is said in `form`, if there is one. */
export async function send(address, fields, form = null) {
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
    for (const [name, value] of told.ask.sent) {
      more.set(name, value);
      if (form?.elements[name]) form.elements[name].value = value;
    }
    more.set("confirmed", "1");
    return send(address, more, form);
  }
  const said = told.said, homeless = form ? mark(form, said.errors ?? {}) : [];
  for (const [id, html] of Object.entries(said.parts ?? {})) show(document.getElementById(id), html);
  if (said.go !== null && said.go !== undefined) leave(said);
  else if (said.text) toast({ ...said, text: [said.text, ...homeless].join(" ") });
  return said;
}

/** Give a part of the page another inside; what was filled in there is in the new one. */
function show(part, html) {
  part.innerHTML = html;
  tell(part);
  part.dispatchEvent(new CustomEvent("pluperfect:patched", { bubbles: true }));
}

/** Go on to another page, and say there what was done. */
function leave(said) {
  try {
    if (said.text) sessionStorage.setItem(SAID, JSON.stringify(said));
  } catch {
    // The page that follows shows what was done.
  }
  // As segments.py: dots alone are no name to a browser, but another place.
  const segment = (name) => (/^\.\.?$/.test(name) ? name.replaceAll(".", "%252E") : encodeURIComponent(name));
  const path = said.go.split("/").map(segment).join("/");
  location.assign(new URL(path, new URL(document.documentElement.dataset.root, location.href)));
}

function sayWhatWasDone() {
  try {
    const said = sessionStorage.getItem(SAID);
    sessionStorage.removeItem(SAID);
    if (said) toast(JSON.parse(said));
  } catch {
    // As above.
  }
}

sayWhatWasDone();

// <form data-once>: what is sent twice by two clicks, or again because no answer came, is sent under one
// token, by which the server knows it again.
const tokens = new Map();

async function once(address, fields, form) {
  const what = `${address} ${fields}`;
  if (tokens.get(what)?.busy) return null;
  const known = tokens.get(what) ?? { token: [...crypto.getRandomValues(new Uint8Array(12))].map((one) => one.toString(16).padStart(2, "0")).join("") };
  tokens.set(what, known);
  known.busy = true;
  if (!fields.has("token")) fields.set("token", known.token);
  const said = await send(address, fields, form);
  const after = () => { known.busy = false; if (said) tokens.delete(what); };
  setTimeout(after, TWICE_MILLISECONDS);
  return said;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-action]")) return;
  event.preventDefault();
  const address = event.submitter?.hasAttribute("formaction") ? event.submitter.formAction : form.action;
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  const said = await ("once" in form.dataset ? once : send)(address, fields, form);
  if (said && !said.failed) form.dispatchEvent(new CustomEvent("pluperfect:acted", { bubbles: true, detail: said }));
});
