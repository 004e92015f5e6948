// Keyboard shortcuts: single keys, and `g` followed by one. Not while somebody types or a dialog is
// open, and not together with ctrl, alt or meta, which are the browser's.

const SEQUENCE_MILLISECONDS = 1200;
const keys = new Map(), places = new Map();
let going = 0;

/** Do something when a key is pressed; return false to let the browser have it. */
export function key(name, act) { keys.set(name, act); }

/** `g` and a key follow a link. */
export function goTo(name, link) { places.set(name, link); }

function typing(element) {
  return element.isContentEditable || element.matches?.("textarea, select, input:not([type=checkbox], [type=radio])");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
  if (event.key === "Escape" && event.target.matches?.("input[type=search]")) { event.target.blur(); return; }
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  if (going && event.timeStamp - going < SEQUENCE_MILLISECONDS && places.has(event.key)) {
    event.preventDefault();
    places.get(event.key).click();
    return;
  }
  going = event.key === "g" ? event.timeStamp : 0;
  const act = keys.get(event.key);
  if (act && act(event) !== false) event.preventDefault();
});
