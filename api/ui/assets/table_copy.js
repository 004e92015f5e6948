// Rows of a list that are marked and copied: a line each, with tabs between its columns, as spreadsheets take
// them. The browser breaks a row where a cell has a sign, and its moments are those of a clock that stood still.

import { exactly } from "./times.js";

function textOf(cell) {
  const copy = cell.cloneNode(true);
  for (const time of copy.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) time.textContent = exactly(moment);
  }
  for (const chip of copy.querySelectorAll(".chip")) chip.after(" ");
  // A thin space within a number is not part of it: a spreadsheet would take it for a text.
  return copy.textContent.replace(/(\d)\u2009(?=\d)/g, "$1").replace(/\s+/g, " ").trim();
}

/** Columns that are seen, without those of boxes and buttons. */
function cellsOf(row) {
  return [...row.cells].filter((cell) => cell.getClientRects().length && !cell.matches(".tick, .deeds"));
}

function cellFor(cell, text) {
  const made = document.createElement("td"), link = cell.querySelector("a[href]");
  if (link) made.append(Object.assign(document.createElement("a"), { href: link.href, textContent: text }));
  else made.textContent = text;
  return made;
}

document.addEventListener("copy", (event) => {
  const selection = getSelection();
  if (selection.isCollapsed || event.target.closest?.("input, textarea")) return;
  const within = selection.getRangeAt(0).commonAncestorContainer;
  const table = (within.closest ? within : within.parentElement).closest("table.list");
  if (!table) return;
  const rows = [...table.rows].filter((row) => selection.containsNode(row, true));
  if (rows.length < 2) return; // Of one, what is marked is meant, and not all of it.
  const texts = rows.map((row) => cellsOf(row).map(textOf));
  const copied = document.createElement("table");
  for (const [at, row] of rows.entries()) copied.insertRow().append(...cellsOf(row).map((cell, i) => cellFor(cell, texts[at][i])));
  event.clipboardData.setData("text/plain", texts.map((row) => row.join("\t")).join("\n"));
  event.clipboardData.setData("text/html", copied.outerHTML);
  event.preventDefault();
});
