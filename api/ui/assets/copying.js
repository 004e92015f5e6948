// To the clipboard: what a copy button has in `data-copy`, and what scripts put together.

import { toast } from "./actions.js";

/** The way that was before there was a clipboard: whether it works is told. */
function copyAsBefore(text, button) {
  const field = document.createElement("textarea");
  field.value = text;
  button.closest("dialog, body").append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  button.focus();
  return done;
}

/** Copy a text for the button that was pressed; whether it worked, which the button shows, and a toast if not. */
export async function copyText(text, button) {
  try {
    // Plain http on another host has no clipboard, and a browser may refuse it: by its settings, or within a frame.
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyAsBefore(text, button)) {
      toast({ text: "The browser did not let this page copy: mark the text, and copy it by hand.", failed: true });
      return false;
    }
  }
  const use = button.querySelector("use"), icon = use.getAttribute("href");
  button.dataset.done = "";
  use.setAttribute("href", icon.replace(/#.*/, "#check"));
  setTimeout(() => { delete button.dataset.done; use.setAttribute("href", icon.replace(/#.*/, "#copy")); }, 1500);
  return true;
}
