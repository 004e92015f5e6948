// <log-view>: what a run printed. Its lines are here, in order of time; only those that can be seen are
// in the document. Of very many lines a window is here, without a gap: what it leaves out is said above and
// below it. The toolbar is the server's (templates/log_view.html), its state is in the address.

import { copyText } from "./copying.js";
import { Heights } from "./heights.js";
import { key } from "./keys.js";
import { finder, plain, write } from "./log_text.js";
import { toast } from "./actions.js";
import { grouped, writer } from "./times.js";

const CHARACTERS_MAX = 50_000_000; // Held by one page, of few lines that are long: 100 MB.
const KEPT = 0.9; // Of what a page may hold, when lines have to go: not with every line that comes.
const SHOWN_CHARACTERS_MAX = 20_000; // Of one message.
const COPIED_LINES_MAX = 20_000;
const PRINTED_LINES_MAX = 5_000; // About a hundred sheets.
const BEYOND_PIXELS = 400; // Drawn above and below what can be seen.
const BOTTOM_PIXELS = 4; // So near to the end is at the end.
const LEVELS = [[50, "CRITICAL"], [40, "ERROR"], [30, "WARNING"], [20, "INFO"], [10, "DEBUG"]];

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 };
const clock = writer(CLOCK);
const dated = writer({ month: "short", day: "numeric", ...CLOCK });
const day = writer({ year: "numeric", month: "short", day: "numeric", ...CLOCK, timeZoneName: "short" });

function levelName(level) {
  return LEVELS.find(([number]) => number === level)?.[1] ?? `LEVEL ${level}`;
}

function levelKind(level) {
  return LEVELS.find(([number]) => level >= number)?.[1] ?? "DEBUG";
}

/** `+00:01:23.456` */
function offset(microseconds) {
  const whole = Math.max(0, Math.floor(microseconds / 1000)), two = (n) => String(n).padStart(2, "0");
  return `+${two(Math.floor(whole / 3_600_000))}:${two(Math.floor(whole / 60_000) % 60)}:${two(Math.floor(whole / 1000) % 60)}.${String(whole % 1000).padStart(3, "0")}`;
}

class Line {
  constructor([number, time, level, task, logger, message]) {
    Object.assign(this, { number, time, level, task, logger, message, text: plain(message) });
    this.characters = message.length + (this.text === message ? 0 : this.text.length);
    this.breaks = 0;
    for (let at = this.text.indexOf("\n"); at >= 0; at = this.text.indexOf("\n", at + 1)) this.breaks += 1;
  }

  get place() { return `${this.time}~${this.number}`; }

  before(other) { return this.time < other.time || (this.time === other.time && this.number < other.number); }
}

customElements.define("log-view", class extends HTMLElement {
  connectedCallback() {
    const at = (selector) => this.querySelector(selector);
    this.frame = at(".log-lines");
    this.space = at(".log-space");
    this.fields = Object.fromEntries([..."find level follow wrap since".split(" ")].map((name) => [name, at(`[name=${name}]`)]));
    this.task = this.dataset.task;
    this.target = Number(/^#L(\d+)$/.exec(location.hash)?.[1] ?? 0);
    // A place in the log is what the reader came for: do not run away from it.
    this.following = "running" in this.dataset && !this.target;
    this.fields.follow.checked = this.following;
    this.rows = new Map();
    this.current = -1;
    this.listen();
    this.clear();
    this.load();
  }

  disconnectedCallback() { this.stop?.abort(); this.run = null; }

  clear() {
    // Until there are other lines: the page would jump beneath the reader.
    this.frame.style.minHeight = `${this.frame.offsetHeight}px`;
    this.loaded = false;
    this.lines = [];
    this.characters = 0;
    this.known = new Set();
    this.names = {};
    this.fresh = 0;
    this.earlier = this.later = false; // Whether there are lines before and behind those that are here.
    this.select();
  }

  // --- From the server

  /** Read lines from the beginning on, or back from the end; or from a place, so that what is beyond it is left out. */
  async load(back = this.following, place = back ? { from: "end" } : {}) {
    const run = (this.run = {}), beyond = back ? "earlier" : "later";
    // What is written meanwhile comes behind what is being read, and only then there is no gap.
    this.waiting = back ? null : [];
    this.note("loading");
    this.frame.ariaBusy = "true";
    try {
      for (;;) {
        const answer = await fetch(`${this.dataset.source}?${new URLSearchParams(place)}`);
        if (!answer.ok) throw new Error(answer.status);
        const part = await answer.json();
        if (this.run !== run) return;
        this.take(part, { back });
        if (part.more && this.full(KEPT)) this[beyond] = true;
        if (!part.more || this[beyond]) break;
        const edge = back ? part.lines[0] : part.lines.at(-1);
        place = { [back ? "before" : "after"]: `${edge[1]}~${edge[0]}` };
      }
      const waiting = this.waiting ?? [];
      this.waiting = null;
      for (const data of waiting) this.receive(data);
      this.loaded = true;
      this.tell();
      if (this.target && !this.sought) await this.seek();
    } catch {
      if (this.run === run) this.note("failed");
    }
    if (this.run !== run) return;
    this.frame.style.minHeight = "";
    this.frame.ariaBusy = "false";
  }

  /** Another window of lines: from a place on, or back from it. */
  async move(back, place) {
    this.follow(false);
    this.clear();
    this[back ? "later" : "earlier"] = true;
    await this.load(back, place);
  }

  /** If the line of the address is left out, show those from it on. */
  async seek() {
    this.sought = true;
    const is = (line) => line.number === this.target;
    if ((this.earlier || this.later) && !this.lines.some(is)) await this.move(false, { line: this.target });
    if (!this.shown.some(is)) toast({ text: "The line of this address is not among the lines that are shown.", failed: true });
  }

  /** What was written since, over the page's live stream. */
  receive(data) {
    if (this.later) return; // It belongs behind lines that are not here.
    if (data.again) { this.clear(); this.load(); }
    else if (this.waiting) this.waiting.push(data);
    else this.take(data, { live: true });
  }

  take({ lines, tasks, began }, { live = false, back = false } = {}) {
    Object.assign(this.names, tasks);
    this.column(tasks);
    const oldest = this.lines[0];
    const fresh = lines.filter(([number]) => !this.known.has(number)).map((line) => new Line(line))
      .filter((line) => !(live && this.earlier && oldest && line.before(oldest)));
    if (!fresh.length) { this.tell(); return; }
    fresh.sort((a, b) => (a.before(b) ? -1 : 1));
    this.began = Math.min(began ?? this.began ?? Infinity, fresh[0].time);
    for (const line of fresh) { this.known.add(line.number); this.characters += line.characters; }
    const last = this.lines.at(-1);
    if (!last || last.before(fresh[0])) {
      for (const line of fresh) { this.lines.push(line); if (this.wanted(line)) this.append(line); }
      this.draw();
    } else {
      // In front, or in between: what came late from another process.
      this.lines = fresh.at(-1).before(oldest) ? fresh.concat(this.lines) : this.lines.concat(fresh).sort((a, b) => (a.before(b) ? -1 : 1));
      this.select();
    }
    this.date();
    if (this.full()) this.cut(live || back);
    if (live && !this.following) this.fresh += fresh.filter((line) => this.wanted(line)).length;
    if (this.following) this.toEnd();
    else if (this.target && !this.arrived) this.toTarget();
    this.tell();
  }

  /** Whether as many lines are here as a page may hold, or so much of them. */
  full(part = 1) {
    return this.lines.length > Number(this.dataset.linesMax) * part || this.characters > CHARACTERS_MAX * part;
  }

  /** Let lines go: the earliest ones, or the latest ones. */
  cut(earliest) {
    const all = this.lines, linesMax = Number(this.dataset.linesMax) * KEPT;
    let gone = 0;
    while (gone < all.length - 1 && (all.length - gone > linesMax || this.characters > CHARACTERS_MAX * KEPT)) {
      const line = all[earliest ? gone : all.length - 1 - gone];
      this.known.delete(line.number);
      this.characters -= line.characters;
      gone += 1;
    }
    this.lines = earliest ? all.slice(gone) : all.slice(0, all.length - gone);
    const writers = new Set(this.lines.map((line) => line.task));
    this.names = Object.fromEntries(Object.entries(this.names).filter(([id]) => writers.has(id)));
    this[earliest ? "earlier" : "later"] = true;
    this.select();
  }

  /** A column for the names of task runs, as wide as they are, if there are several. */
  column(tasks) {
    if (!("several" in this.dataset)) return;
    const before = this.widest ?? 0;
    this.widest = Math.max(before, ...Object.values(tasks).map((name) => name.length));
    if (this.widest === before) return;
    this.dataset.of = "";
    this.style.setProperty("--of", `${this.widest}ch`);
    if (this.lines.length) this.select();
  }

  /** Lines of several days say of which each is. */
  date() {
    const dayOf = (line) => new Date(line.time / 1000).toDateString();
    if ("dated" in this.dataset || dayOf(this.lines[0]) === dayOf(this.lines.at(-1))) return;
    this.dataset.dated = "";
    this.select();
  }

  // --- What is shown

  wanted(line) {
    return line.level >= Number(this.fields.level.value) && (!this.task || line.task === this.task);
  }

  append(line) {
    this.shown.push(line);
    this.heights.push(this.guess(line));
    if (this.finder && this.matchesFinder(line)) this.matches.push(this.shown.length - 1);
  }

  matchesFinder(line) {
    this.finder.lastIndex = 0;
    return this.finder.test(line.text);
  }

  /** Choose anew from all lines, and stay at the line that is on top. */
  select() {
    const anchor = this.shown?.length ? this.shown[this.heights.at(this.frame.scrollTop)] : null;
    const match = this.shown?.[this.matches?.[this.current]];
    const within = anchor ? this.frame.scrollTop - this.heights.top(this.heights.at(this.frame.scrollTop)) : 0;
    this.measure();
    this.finder = finder(this.fields.find.value);
    this.shown = [];
    this.matches = [];
    this.heights = new Heights(Math.max(1024, this.lines.length));
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    for (const line of this.lines) if (this.wanted(line)) this.append(line);
    this.current = match ? this.matches.findIndex((row) => this.shown[row] === match) : -1;
    this.draw();
    if (this.following) this.toEnd();
    else if (anchor) {
      const row = this.rowOf(anchor);
      if (row < this.shown.length) this.frame.scrollTop = this.heights.top(row) + within;
      this.draw();
    }
    this.tell();
  }

  /** The first shown line that is not before this one. */
  rowOf(line) {
    let low = 0, high = this.shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.shown[middle].before(line)) low = middle + 1; else high = middle;
    }
    return low;
  }

  measure() {
    this.toggleAttribute("data-wrap", this.fields.wrap.checked);
    const probe = this.row(new Line([0, 0, 20, null, "", "0".repeat(100)]));
    probe.classList.add("probe");
    this.space.append(probe);
    const message = probe.querySelector(".log-message"), style = getComputedStyle(message);
    const range = document.createRange();
    range.setStart(message.firstChild, 0);
    range.setEnd(message.firstChild, 10);
    this.line = parseFloat(style.lineHeight);
    this.columns = Math.max(10, Math.floor(message.getBoundingClientRect().width / (range.getBoundingClientRect().width / 10)));
    this.beside = probe.offsetHeight - this.line * Math.round(message.getBoundingClientRect().height / this.line);
    probe.remove();
  }

  /** How high a line will be; what was drawn is measured. */
  guess(line) {
    let rows = line.breaks + 1;
    if (this.fields.wrap.checked && line.text.length > this.columns) {
      rows = 0;
      for (const part of line.text.slice(0, SHOWN_CHARACTERS_MAX).split("\n")) rows += Math.max(1, Math.ceil(part.length / this.columns));
    }
    return rows * this.line + this.beside;
  }

  row(line) {
    const row = document.createElement("div");
    row.className = "log-line";
    row.dataset.level = levelKind(line.level);
    if (line.number === this.target) row.setAttribute("aria-current", "true");
    const at = document.createElement("a"), moment = new Date(line.time / 1000);
    at.className = "log-at";
    at.href = `#L${line.number}`;
    at.title = `${day.format(moment)}\nLink to this line`;
    at.textContent = this.fields.since.checked ? offset(line.time - (this.began ?? line.time)) : ("dated" in this.dataset ? dated : clock).format(moment);
    const level = document.createElement("span");
    level.className = "log-level";
    level.textContent = levelName(line.level);
    row.append(at, level);
    if ("of" in this.dataset && this.names[line.task]) {
      const task = document.createElement("a");
      task.className = "log-of cut";
      task.href = this.address({ task: line.task });
      task.dataset.of = line.task;
      task.title = `Only the lines of ${this.names[line.task]}`;
      task.textContent = this.names[line.task];
      row.append(task);
    }
    const message = document.createElement("span");
    message.className = "log-message";
    const cut = line.text.length > SHOWN_CHARACTERS_MAX;
    write(message, line.message, cut ? line.text.slice(0, SHOWN_CHARACTERS_MAX) : line.text, this.finder);
    if (cut) {
      const rest = document.createElement("i");
      rest.textContent = ` … and ${grouped(line.text.length - SHOWN_CHARACTERS_MAX)} more characters`;
      message.append(rest);
    }
    row.append(message);
    return row;
  }

  draw() {
    const { frame, heights, shown, rows } = this;
    const first = heights.at(frame.scrollTop - BEYOND_PIXELS);
    const last = shown.length ? heights.at(frame.scrollTop + frame.clientHeight + BEYOND_PIXELS) : -1;
    for (const [line, row] of rows) if (!shown.length || line.before(shown[first]) || shown[last].before(line)) { row.remove(); rows.delete(line); }
    const made = [];
    for (let at = first; at <= last; at++) {
      if (rows.has(shown[at])) continue;
      const row = this.row(shown[at]);
      rows.set(shown[at], row);
      made.push([at, row]);
    }
    // In the order of the lines, so that a selection and a screen reader go from one to the next.
    for (const [at, row] of made.reverse()) this.space.insertBefore(row, rows.get(shown[at + 1]) ?? null);
    const measured = made.map(([at, row]) => [at, row.offsetHeight]);
    let above = 0;
    const top = heights.at(frame.scrollTop);
    for (const [at, height] of measured) {
      if (height === heights.each[at]) continue;
      if (at < top) above += height - heights.each[at];
      heights.set(at, height);
    }
    this.space.style.height = `${heights.top(heights.length)}px`;
    for (let at = first; at <= last; at++) {
      const row = rows.get(shown[at]);
      row.style.transform = `translateY(${heights.top(at)}px)`;
      row.toggleAttribute("data-match", this.matches[this.current] === at);
    }
    if (above) frame.scrollTop += above;
  }

  atEnd() { return this.frame.scrollTop + this.frame.clientHeight >= this.frame.scrollHeight - BOTTOM_PIXELS; }

  toEnd() {
    // Twice: what is drawn at the end may be higher than it was guessed.
    for (let turn = 0; turn < 2; turn++) { this.frame.scrollTop = this.frame.scrollHeight; this.draw(); }
    this.fresh = 0;
  }

  toRow(row) {
    for (let turn = 0; turn < 2; turn++) {
      this.frame.scrollTop = this.heights.top(row) - this.frame.clientHeight / 3;
      this.draw();
    }
  }

  toTarget() {
    const row = this.shown.findIndex((line) => line.number === this.target);
    if (row < 0) return;
    this.frame.scrollIntoView({ block: "nearest" });
    this.arrived = true;
    this.toRow(row);
  }

  // --- What is said about it

  note(which) {
    for (const name of ["loading", "empty", "none", "failed"]) this.querySelector(`[data-${name}]`).hidden = name !== which;
  }

  tell() {
    const all = this.lines.length, shown = this.shown.length;
    const count = this.querySelector("[data-count]");
    const only = this.earlier === this.later ? "" : `the ${this.earlier ? "last" : "first"} `;
    count.textContent = shown === all ? `${only}${grouped(all)} ${all === 1 ? "line" : "lines"}` : `${grouped(shown)} of ${only}${grouped(all)} lines`;
    this.querySelector("[data-earlier]").hidden = !(this.earlier && all);
    this.querySelector("[data-later]").hidden = !(this.later && all);
    if (all) this.note(shown ? null : "none");
    else if (this.loaded) this.note("empty");
    const fresh = this.querySelector(".log-new");
    fresh.hidden = !this.fresh;
    fresh.lastElementChild.textContent = `${grouped(this.fresh)} new ${this.fresh === 1 ? "line" : "lines"}`;
    const found = this.querySelector(".log-found");
    found.hidden = !this.finder;
    const text = this.matches.length ? `${this.current < 0 ? "" : `${grouped(this.current + 1)} of `}${grouped(this.matches.length)}` : "none";
    if (found.firstElementChild.textContent !== text) found.firstElementChild.textContent = text;
    const chip = this.querySelector(".log-task");
    chip.hidden = !this.task;
    if (this.task) chip.firstElementChild.textContent = `only ${this.names[this.task] ?? "one task run"}`;
  }

  // --- What the reader does

  address(changes = {}) {
    const query = new URLSearchParams(location.search);
    const state = {
      find: this.fields.find.value, level: Number(this.fields.level.value) || "", wrap: this.fields.wrap.checked ? "" : "no",
      time: this.fields.since.checked ? "since" : "", task: this.task, ...changes,
    };
    for (const [name, value] of Object.entries(state)) if (value) query.set(name, value); else query.delete(name);
    return `${location.pathname}${query.size ? `?${query}` : ""}`;
  }

  changed() {
    history.replaceState(history.state, "", this.address() + location.hash);
    this.current = -1;
    this.select();
  }

  only(task) {
    this.task = task;
    this.changed();
  }

  step(by) {
    if (!this.matches.length) return;
    if (this.current < 0) {
      // From what is on the screen, not from the beginning.
      const top = this.heights.at(this.frame.scrollTop), next = this.matches.findIndex((row) => row >= top);
      this.current = by > 0 ? Math.max(0, next) : (next < 0 ? this.matches.length : next) - 1;
      if (this.current < 0) this.current = this.matches.length - 1;
    } else {
      this.current = (this.current + by + this.matches.length) % this.matches.length;
    }
    this.follow(false);
    this.toRow(this.matches[this.current]);
    this.tell();
  }

  follow(yes) {
    this.following = yes;
    this.fields.follow.checked = yes;
    if (yes && this.later) { this.clear(); this.load(); }
    if (yes) { this.toEnd(); this.tell(); }
  }

  async copy(button) {
    const lines = this.shown.slice(-COPIED_LINES_MAX);
    const text = lines.map((line) => `${new Date(line.time / 1000).toISOString()} ${levelName(line.level)} ${line.task && this.names[line.task] ? `${this.names[line.task]} ` : ""}${line.text}`).join("\n");
    if (!(await copyText(text, button))) return;
    const left = this.shown.length - lines.length;
    toast({ text: left > 0 ? `The last ${grouped(lines.length)} lines were copied; a download has all of them.` : `${grouped(lines.length)} ${lines.length === 1 ? "line was" : "lines were"} copied.` });
  }

  /** Lines of which only those that can be seen are in the document: for paper, all that are shown. */
  print() {
    const lines = this.shown.slice(-PRINTED_LINES_MAX), left = this.shown.length - lines.length;
    const printed = document.createElement("div");
    printed.className = "log-printed";
    const said = document.createElement("p");
    said.textContent = this.querySelector("[data-count]").textContent + (left ? `; the last ${grouped(lines.length)} of them:` : "");
    printed.append(said, ...lines.map((line) => this.row(line)));
    this.frame.before(printed);
  }

  printed() { this.querySelector(".log-printed")?.remove(); }

  listen() {
    this.stop = new AbortController();
    const options = { signal: this.stop.signal }, on = (target, name, act) => target.addEventListener(name, act, options);
    let drawing = 0;
    on(this.frame, "scroll", () => {
      const end = this.atEnd();
      // Without lines, as long as others are read, everything is the end.
      const lasts = "running" in this.dataset && !this.later && this.frame.ariaBusy !== "true";
      if (end !== this.following && (!end || lasts)) { this.following = end; this.fields.follow.checked = end; }
      if (end && this.fresh) { this.fresh = 0; this.tell(); }
      drawing ||= requestAnimationFrame(() => { drawing = 0; this.draw(); });
    });
    on(this.fields.find, "input", () => this.changed());
    on(this.fields.find, "keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.step(event.shiftKey ? -1 : 1); } });
    for (const name of ["level", "wrap", "since"]) on(this.fields[name], "change", () => this.changed());
    on(this.fields.follow, "change", () => this.follow(this.fields.follow.checked));
    on(window, "beforeprint", () => { this.printed(); this.print(); });
    on(window, "afterprint", () => this.printed());
    on(window, "hashchange", () => {
      this.target = Number(/^#L(\d+)$/.exec(location.hash)?.[1] ?? 0);
      this.follow(false);
      for (const [line, row] of this.rows) row.toggleAttribute("aria-current", line.number === this.target);
      this.arrived = [...this.rows].some(([line, row]) => line.number === this.target && row.getBoundingClientRect().bottom > 0);
      if (!this.arrived) this.toTarget();
      this.sought = false;
      if (this.target && this.loaded) this.seek(); // Else when what is being read is there.
    });
    // The browser would scroll the page to the line; it is where it is.
    on(this, "click", (event) => {
      const at = (selector) => event.target.closest(selector);
      if (at("[data-next]")) this.step(1);
      else if (at("[data-previous]")) this.step(-1);
      else if (at("[data-lift]")) this.only("");
      else if (at("[data-lift-all]")) { this.fields.level.value = "0"; this.only(""); }
      else if (at("[data-show-earlier]")) this.move(true, { before: this.lines[0].place }).then(() => this.toEnd());
      else if (at("[data-show-later]")) this.move(false, { after: this.lines.at(-1).place });
      else if (at("[data-again]")) { this.clear(); this.load(); }
      else if (at(".log-new")) this.follow(true);
      else if (at("[data-copy-lines]")) this.copy(at("[data-copy-lines]"));
      else if (at("a[data-of]") && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); this.only(at("a[data-of]").dataset.of); }
    });
    let width = 0;
    const resized = new ResizeObserver(() => {
      if (width && Math.abs(this.frame.clientWidth - width) > 1) this.select();
      width = this.frame.clientWidth;
      this.draw();
    });
    resized.observe(this.frame);
    this.stop.signal.addEventListener("abort", () => resized.disconnect());
  }
});

const view = () => document.querySelector("log-view");
const finding = () => Boolean(view()?.finder);
key("n", () => (finding() ? view().step(1) : false));
key("N", () => (finding() ? view().step(-1) : false));
key("w", () => { if (!view()) return false; view().fields.wrap.click(); });
