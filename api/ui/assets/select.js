// Choosing rows of a list: by box, by shift and click, by keys. For <table data-select="id"> within a
// <form data-action> that has a [data-bulk] bar. What is chosen is known by its id, so that it stays
// chosen while the list changes; what leaves the page is not chosen any more.

import { key } from "./keys.js";

const chosen = new Set();
let last = null, cursor = null;

const table = () => document.querySelector("table[data-select]");
const boxes = () => [...(table()?.querySelectorAll(`tbody input[name="${table().dataset.select}"]`) ?? [])];

function show() {
  const all = boxes(), here = new Set(all.map((box) => box.value));
  for (const id of chosen) if (!here.has(id)) chosen.delete(id);
  for (const box of all) {
    box.checked = chosen.has(box.value);
    const row = box.closest("tr");
    row.setAttribute("aria-selected", box.checked);
    row.toggleAttribute("data-cursor", box.value === cursor);
  }
  const everything = table()?.querySelector("[data-select-all]");
  if (everything) {
    everything.checked = all.length > 0 && chosen.size === all.length;
    everything.indeterminate = chosen.size > 0 && chosen.size < all.length;
  }
  const bar = document.querySelector("[data-bulk]");
  if (bar) {
    bar.hidden = chosen.size === 0;
    bar.querySelector("[data-count]").textContent = `${chosen.size} chosen`;
  }
}

function choose(box, yes) {
  if (yes) chosen.add(box.value);
  else chosen.delete(box.value);
}

function nothing() { chosen.clear(); show(); }

document.addEventListener("click", (event) => {
  const box = event.target.closest?.("table[data-select] tbody input[type=checkbox]");
  if (box) {
    const all = boxes(), from = all.findIndex((one) => one.value === last), to = all.indexOf(box);
    if (event.shiftKey && from >= 0) {
      for (const one of all.slice(Math.min(from, to), Math.max(from, to) + 1)) choose(one, box.checked);
    } else {
      choose(box, box.checked);
    }
    last = cursor = box.value;
    show();
  } else if (event.target.closest?.("[data-select-all]")) {
    const yes = event.target.checked;
    for (const one of boxes()) choose(one, yes);
    show();
  } else if (event.target.closest?.("[data-select-none]")) {
    nothing();
  }
});

function step(by) {
  const all = boxes();
  if (!all.length) return false;
  const at = all.findIndex((box) => box.value === cursor);
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
  cursor = next.value;
  show();
  const row = next.closest("tr");
  row.scrollIntoView({ block: "nearest" });
  row.querySelector("a[href]")?.focus({ preventScroll: true });
  return true;
}

key("j", () => step(1));
key("k", () => step(-1));
key("x", () => {
  const box = boxes().find((one) => one.value === cursor);
  if (!box) return false;
  choose(box, !chosen.has(box.value));
  last = cursor;
  show();
});
key("Escape", () => (chosen.size ? nothing() : false));

document.addEventListener("pluperfect:patched", show);
document.addEventListener("htmx:afterSettle", show);
document.addEventListener("pluperfect:acted", nothing);
for (const box of boxes()) choose(box, box.checked); // Before this was here, or by the browser, which goes back to them.
show();
