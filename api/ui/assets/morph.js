// Changes what is on the page into what the server says, and nothing of what the person did there:
// for regions of a live page, and for lists that htmx fetches (hx-swap="morph").

import { tell } from "./times.js";

const KEPT_OF_ROWS = ["aria-selected", "data-cursor"];

// What somebody types into is left as it is; a button that has the focus may come to say another thing.
Object.defineProperty(Idiomorph.defaults, "ignoreActiveValue", {
  enumerable: true,
  get: () => Boolean(document.activeElement?.matches("input, select, textarea")),
});
Object.assign(Idiomorph.defaults.callbacks, {
  beforeNodeMorphed(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== fresh.nodeName) return true;
    // Texts that tick are left as they tick, unless they are about something else now.
    if (old.nodeName === "TIME") return old.dateTime !== fresh.dateTime;
    if (old.dataset.since) return old.dataset.since !== fresh.dataset.since;
    // What a script draws, like a timeline, is its own.
    return !(old.hasAttribute("data-keep") && old.id === fresh.id);
  },
  beforeAttributeUpdated(name, node) {
    // What is open stays open, what is chosen stays chosen.
    if (name === "open") return !["DETAILS", "DIALOG"].includes(node.nodeName);
    if (name === "checked" || name === "indeterminate") return !node.closest("form[data-action]");
    if (name === "style") return !node.matches(".menu > .panel"); // Where it is (shell.js).
    if (name === "title") return node.nodeName !== "TIME";
    return !(node.nodeName === "TR" && KEPT_OF_ROWS.includes(name));
  },
});

/** Give an element another inside. */
export function morph(element, html) {
  Idiomorph.morph(element, html, { morphStyle: "innerHTML" });
  htmx.process(element); // Forms and links that were not there before.
  tell(element);
  element.dispatchEvent(new CustomEvent("pluperfect:patched", { bubbles: true }));
}

// A click into the page gives <main> the focus, and what has the focus is left as it is.
document.addEventListener("htmx:beforeSwap", () => {
  if (document.activeElement?.id === "main") document.activeElement.blur();
});
