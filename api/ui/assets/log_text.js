// Messages of log lines as text: terminals' escape sequences become styles or nothing, and every
// other character is only ever put into the page as text.

const SEQUENCE = /\x1b(?:\[([0-9;:]*)([ -/]*[@-~])|\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])?|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;
const STYLES = { 1: "bold", 2: "dim", 3: "italic", 4: "underlined", 9: "struck" };
const ENDS = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underlined"], 29: ["struck"] };

/** A message without what steers terminals. */
export function plain(message) {
  const lines = message.includes("\r") ? message.replace(/\r\n?/g, "\n") : message;
  return /[\x00-\x08\x0b-\x1f\x7f]/.test(lines) ? lines.replace(SEQUENCE, "") : lines;
}

function change(style, codes) {
  const numbers = (codes || "0").split(/[;:]/).map(Number);
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at];
    if (code === 0) style.clear();
    else if (STYLES[code]) style.add(STYLES[code]);
    else if (ENDS[code]) for (const name of ENDS[code]) style.delete(name);
    else if (code === 38 || code === 48) {
      // Of 256 colours the first 16 have a name; the others are left out, as they may not be legible.
      if (numbers[at + 1] === 5) { if (code === 38) paint(style, numbers[at + 2]); at += 2; }
      else if (numbers[at + 1] === 2) at += 4;
    } else if (code >= 30 && code <= 37) paint(style, code - 30);
    else if (code >= 90 && code <= 97) paint(style, code - 82);
    else if (code === 39) paint(style, null);
  }
}

function paint(style, colour) {
  for (const name of style) if (name.startsWith("ansi-")) style.delete(name);
  if (colour !== null && colour < 16) style.add(`ansi-${colour % 8}`);
}

/** Stretches of the plain text that have a style: [from, to, class names]. */
function stretches(message) {
  if (!message.includes("\x1b")) return [];
  const lines = message.replace(/\r\n?/g, "\n"), found = [], style = new Set();
  let place = 0, last = 0, began = 0;
  for (const match of lines.matchAll(SEQUENCE)) {
    place += match.index - last;
    last = match.index + match[0].length;
    if (match[2] !== "m") continue;
    if (style.size && place > began) found.push([began, place, [...style].join(" ")]);
    began = place;
    change(style, match[1]);
  }
  place += lines.length - last;
  if (style.size && place > began) found.push([began, place, [...style].join(" ")]);
  return found;
}

/** Put a message into an element: styled, and with what was searched for marked. */
export function write(element, message, text, found) {
  const styled = stretches(message), marked = [];
  if (found) for (const match of text.matchAll(found)) marked.push([match.index, match.index + match[0].length]);
  if (!styled.length && !marked.length) { element.textContent = text; return; }
  const edges = new Set([0, text.length]);
  for (const [from, to] of [...styled, ...marked]) { edges.add(Math.min(from, text.length)); edges.add(Math.min(to, text.length)); }
  const cuts = [...edges].sort((a, b) => a - b), parts = [];
  let s = 0, m = 0;
  for (let at = 0; at + 1 < cuts.length; at++) {
    const from = cuts[at], part = text.slice(from, cuts[at + 1]);
    while (s < styled.length && styled[s][1] <= from) s++;
    while (m < marked.length && marked[m][1] <= from) m++;
    const style = s < styled.length && styled[s][0] <= from ? styled[s][2] : "";
    const mark = m < marked.length && marked[m][0] <= from;
    if (!style && !mark) { parts.push(part); continue; }
    const piece = document.createElement(mark ? "mark" : "span");
    piece.className = style;
    piece.textContent = part;
    parts.push(piece);
  }
  element.replaceChildren(...parts);
}

/** What finds a text, whatever the case of its letters; null for nothing. */
export function finder(text) {
  return text ? new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu") : null;
}
