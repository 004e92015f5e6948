// <run-bars>: bars of runs, or of something else, over time (templates/charts.html). Says what is in a
// bar, leads there, or to the runs of one state in it; several bars that are chosen narrow the window
// of the page.

import { grouped, writer } from "./times.js";

const DRAG_PIXELS = 5;
const NAMES = { LATE: "Late" };

const name = (kind) => NAMES[kind] ?? kind.slice(0, 1) + kind.slice(1).toLowerCase();

customElements.define("run-bars", class extends HTMLElement {
  #cursor = null; // Number of the bar that is told about.
  #anchor = null; // Where a choice began.
  #pressed = null; // Where the pointer went down.
  #dragged = false;

  connectedCallback() {
    this.addEventListener("pointermove", (event) => this.#moved(event));
    this.addEventListener("pointerdown", (event) => this.#down(event));
    this.addEventListener("pointerup", (event) => this.#up(event));
    this.addEventListener("pointercancel", () => this.#clear());
    this.addEventListener("pointerleave", () => { if (!this.#pressed && !this.matches(":focus-visible")) this.#clear(); });
    this.addEventListener("dragstart", (event) => event.preventDefault());
    this.addEventListener("click", (event) => this.#clicked(event), true);
    this.addEventListener("keydown", (event) => this.#key(event));
    this.addEventListener("focus", () => { if (this.matches(":focus-visible")) this.#at(this.#cursor ?? this.#last()); });
    this.addEventListener("blur", () => this.#clear());
    this.addEventListener("pluperfect:patched", () => this.#tell());
  }

  get #noun() { return this.dataset.noun ?? "runs"; }

  get #bars() { return [...this.querySelectorAll("a")]; }

  /** The newest bar that has runs. */
  #last() {
    const bars = this.#bars;
    const found = bars.findLastIndex((bar) => bar.querySelector("[data-runs]"));
    return found < 0 ? bars.length - 1 : found;
  }

  #number(event) {
    const box = this.getBoundingClientRect(), bars = this.#bars.length;
    return Math.min(bars - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * bars)));
  }

  #moved(event) {
    if (this.#pressed && Math.abs(event.clientX - this.#pressed.x) > DRAG_PIXELS && !this.#dragged) {
      this.#dragged = true;
      this.#anchor = this.#pressed.number;
      this.setPointerCapture(event.pointerId);
    }
    this.#at(this.#number(event));
  }

  #down(event) {
    this.#dragged = false;
    this.#anchor = null;
    this.#pressed = event.button === 0 ? { x: event.clientX, number: this.#number(event) } : null;
  }

  #up(event) {
    this.#pressed = null;
    if (this.#dragged && this.#anchor !== null) { this.#at(this.#number(event)); this.#narrow(); }
  }

  #clicked(event) {
    if (this.#dragged) { event.preventDefault(); event.stopPropagation(); this.#dragged = false; return; }
    const kind = event.target.dataset?.state, bar = event.target.closest("a");
    if (!kind || !bar || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const address = this.#address(bar);
    address.searchParams.append(kind === "LATE" ? "name" : "state", kind === "LATE" ? "Late" : kind);
    location.assign(address);
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const bars = this.#bars.length, from = this.#cursor ?? this.#last();
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: bars - 1 }[event.key];
    if (to !== undefined) {
      this.#anchor = event.shiftKey ? this.#anchor ?? from : null;
      this.#at(Math.min(bars - 1, Math.max(0, to)));
    } else if (event.key === "Enter") {
      if (this.#anchor !== null && this.#anchor !== this.#cursor) this.#narrow();
      else location.assign(this.#address(this.#bars[from]));
    } else if (event.key === "Escape") {
      this.#anchor = null;
      this.#at(from);
    } else return;
    event.preventDefault();
  }

  #address(bar) { return new URL(bar.getAttribute("href"), location.href); }

  #parameter(bar, ...names) {
    const query = this.#address(bar).searchParams;
    return names.map((one) => query.get(one)).find((value) => value !== null);
  }

  #chosen() {
    const ends = [this.#anchor ?? this.#cursor, this.#cursor].sort((a, b) => a - b), bars = this.#bars;
    return {
      first: ends[0], last: ends[1], bars: bars.slice(ends[0], ends[1] + 1),
      since: this.#parameter(bars[ends[0]], "since", "from"),
      until: this.#parameter(bars[ends[1]], "until", "to"),
    };
  }

  #narrow() {
    const { since, until } = this.#chosen();
    const address = new URL(this.dataset.here, location.href);
    address.searchParams.set("from", since);
    address.searchParams.set("to", until);
    location.assign(address);
  }

  #at(number) { this.#cursor = number; this.#tell(); }

  #clear() {
    this.#cursor = this.#anchor = this.#pressed = null;
    this.#dragged = false;
    this.#tell();
  }

  #tell() {
    const [chosen, tip, said] = ["chosen", "tip", "said"].map((part) => document.getElementById(`${this.id}-${part}`));
    for (const bar of this.querySelectorAll("a[data-on]")) delete bar.dataset.on;
    chosen.hidden = this.#anchor === null;
    tip.hidden = this.#cursor === null || this.#cursor >= this.#bars.length;
    if (tip.hidden) { said.textContent = ""; return; }
    const { first, last, bars, since, until } = this.#chosen(), all = this.#bars.length;
    for (const bar of bars) bar.dataset.on = "";
    chosen.style.left = `${(100 * first) / all}%`;
    chosen.style.width = `${(100 * (last + 1 - first)) / all}%`;
    const counts = new Map();
    for (const part of bars.flatMap((bar) => [...bar.querySelectorAll("[data-runs]")])) {
      const kind = part.dataset.state ?? "";
      counts.set(kind, (counts.get(kind) ?? 0) + Number(part.dataset.runs));
    }
    // As they lie on each other; bars of one kind name none.
    const kinds = (this.dataset.kinds ?? "").split(" ").reverse().filter((kind) => counts.has(kind));
    const lines = kinds.map((kind) => [kind, grouped(counts.get(kind))]);
    const when = document.createElement("b");
    when.textContent = `${moment(since)} – ${moment(until)}`;
    tip.replaceChildren(when, ...(lines.length ? lines.map(([kind, runs]) => line(kind, runs, this.#noun)) : [`No ${this.#noun}`]));
    const middle = (first + last + 1) / 2 / all;
    tip.style.left = `clamp(0px, calc(${100 * middle}% - ${tip.offsetWidth / 2}px), calc(100% - ${tip.offsetWidth}px))`;
    if (this.matches(":focus-visible")) {
      said.textContent = `${when.textContent}: ${lines.map(([kind, runs]) => `${runs} ${name(kind) || this.#noun}`).join(", ") || `no ${this.#noun}`}`;
    }
  }
});

const short = writer({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const moment = (text) => short.format(new Date(text));

function line(kind, runs, noun) {
  if (!kind) return `${runs} ${noun}`;
  const row = document.createElement("span"), icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${new URL("icons.svg", import.meta.url).pathname}#state-${kind}`);
  icon.classList.add("icon");
  icon.append(use);
  row.className = "state";
  row.dataset.state = kind;
  const label = document.createElement("span"), number = document.createElement("span");
  label.append(icon, ` ${name(kind)}`);
  number.textContent = runs;
  row.append(label, number);
  return row;
}
