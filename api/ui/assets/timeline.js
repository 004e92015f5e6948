// <run-timeline data-run="ID">: a flow run over time. What is drawn is in timeline_paint.js, what is
// known in timeline_model.js, looking at the past in timeline_past.js.
//
// The address says which subflows are open (`open=ID`) and which moment of the past is looked at
// (`at=POSITION`). Data comes from `ID/timeline`, `ID/marks` and `ID/facts`, then over the live stream.

import { follow } from "./live.js";
import { morph } from "./morph.js";
import { duration, exactly, grouped, relative } from "./times.js";
import { listen } from "./timeline_input.js";
import { KINDS, Run, STAGE_HEIGHT, after, ended, related, rows } from "./timeline_model.js";
import { badge, build, escaped } from "./timeline_parts.js";
import { AXIS, most, overview, paint, palette } from "./timeline_paint.js";
import { Past } from "./timeline_past.js";

const OVERVIEW_HEIGHT = 28, SPAN_MIN = 2, MARGIN = 0.02, TICK_MILLISECONDS = 250, SAID_MILLISECONDS = 250, COUNT_MILLISECONDS = 1000;
const REACH = 7; // Pixels beside a mark or a narrow bar that still mean it.

const mark = ([at, task, id, what, kind]) => ({ at: at / 1000, task, id, what, kind });

class RunTimeline extends HTMLElement {
  #runs = new Map();
  #open = new Set();
  #rows = [];
  #view = null; // [from, until], or null: all of it.
  #top = 0;
  #hovered = null;
  #chosen = null;
  #related = null;
  #past = null;
  #fact = null; // How many facts are shown, or null: now.
  #early = []; // What came over the stream before the first picture.
  #asked = 0;
  #timer = 0;
  #frames = 0;
  marks = []; // What the last frame marked, and where.

  connectedCallback() {
    if (this.canvas) return;
    this.id_ = this.dataset.run;
    this.root = new URL(document.documentElement.dataset.root, location.href);
    const address = new URLSearchParams(location.search);
    for (const id of address.getAll("open")) this.#open.add(id);
    this.#build();
    this.#observe();
    this.load().then(() => { if (address.has("at")) this.goTo(Number(address.get("at"))); });
  }

  disconnectedCallback() { clearTimeout(this.#timer); }

  get #run() { return this.#runs.get(this.id_); }

  #build() {
    build(this);
    this.pen = this.canvas.getContext("2d");
    this.stripPen = this.strip.getContext("2d");
    listen(this, this.canvas);
    this.canvas.addEventListener("focus", () => { if (!this.#chosen && this.canvas.matches(":focus-visible")) this.step("first"); });
    const centre = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = this.strip.getBoundingClientRect(), [from, until] = this.#extent();
      const at = from + ((event.clientX - box.left) / box.width) * (until - from);
      const [left, right] = this.#shown();
      if (this.#view) this.#look(at - (right - left) / 2, at + (right - left) / 2);
    };
    this.strip.addEventListener("pointerdown", (event) => { this.strip.setPointerCapture(event.pointerId); centre(event); });
    this.strip.addEventListener("pointermove", centre);
    const prepare = () => this.#prepare();
    this.scrubber.addEventListener("pointerenter", prepare);
    this.slider.addEventListener("focus", prepare);
    this.slider.addEventListener("input", async () => {
      const value = Number(this.slider.value);
      if (await this.#prepare()) this.#show(value >= this.#past.length ? null : value);
    });
    this.back.addEventListener("click", () => this.#show(null));
  }

  #observe() {
    new ResizeObserver(() => this.#draw()).observe(this);
    const recolour = () => { this.colours = palette(this); this.#draw(); };
    this.colours = palette(this);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    new MutationObserver(recolour).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    // Paper is light, and no frame is drawn before it is printed.
    matchMedia("print").addEventListener("change", () => { this.colours = palette(this); this.#paint(); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#draw(); });
  }

  // --- Data
  async #get(id, what) {
    const response = await fetch(new URL(`runs/flow-run/${id}/${what}`, this.root), { headers: { accept: "application/json" } });
    if (!response.ok) throw new Error(`${response.status}`);
    return response.json();
  }

  async load() {
    const asked = ++this.#asked;
    try {
      const found = await Promise.all([this.id_, ...this.#open].map((id) => this.#get(id, "timeline")));
      if (asked !== this.#asked) return;
      this.#runs.clear();
      for (const data of found) this.#take(data);
      const early = this.#early;
      this.#early = null;
      for (const data of early ?? []) this.receive(data);
    } catch {
      this.count.textContent = "The timeline could not be read. Reload the page to try again.";
      return;
    }
    this.#changed();
    this.#mark();
  }

  #take(data) {
    if (!this.#runs.has(data.id)) this.#runs.set(data.id, new Run(data.id));
    this.#runs.get(data.id).take(data);
  }

  async #mark() {
    for (const run of [...this.#runs.values()]) {
      try {
        const { artifacts, emissions } = await this.#get(run.id, "marks");
        run.artifacts = artifacts.map((row) => ({ ...mark(row), artifact: true }));
        this.#emitted(run, emissions);
        for (const mark of run.artifacts) if (run.tasks.has(mark.task)) run.tasks.get(mark.task).marked = true;
      } catch {
        // The run is gone; the page says so.
      }
    }
    this.#draw();
  }

  // Those that came over the stream may not be in the list that is read yet.
  #emitted(run, emissions) {
    const known = new Set(run.emissions.map((one) => one.id));
    run.emissions.push(...emissions.map(mark).filter((one) => !known.has(one.id)));
  }

  /** What came over the live stream. */
  receive(data) {
    if (data.anew) { this.load(); return; }
    if (this.#early) { this.#early.push(data); return; }
    for (const run of data.runs) this.#take(run);
    for (const [id, rows] of Object.entries(data.emissions)) if (this.#runs.has(id)) this.#emitted(this.#runs.get(id), rows);
    if (data.artifacts) this.#mark();
    // There is more of it now.
    if (this.#fact === null) this.#past = null;
    else this.stale = true;
    this.#changed();
  }

  #changed() {
    const run = this.#run;
    if (!run) return;
    this.#rows = rows(run, this.#runs, this.#open);
    this.edges = [...this.#runs.values()].reduce((sum, one) => sum + one.edges, 0);
    this.#say();
    this.strip.parentElement.hidden = !run.tasks.size;
    if (this.#chosen) this.#tell();
    this.#draw();
  }

  #say() {
    const run = this.#run, number = run.tasks.size, now = performance.now();
    // To know how many ran at a time all have to be sorted: not with each of many changes.
    if (this.wide === undefined || now - this.counted > COUNT_MILLISECONDS) {
      this.wide = most(run);
      this.counted = now;
    }
    // Task runs that stand for subflows are counted as these, as on the tabs.
    const subflows = [...run.tasks.values()].reduce((sum, task) => sum + (task.sub ? 1 : 0), 0);
    const kinds = [counted(number - subflows, "task run"), counted(subflows, "subflow")];
    const some = kinds.filter((text) => text).join(" and ");
    this.count.textContent = number
      ? `${some}${run.cut ? ", the first of more" : ""}${this.wide > 1 ? `, up to ${this.wide} at a time` : ""}`
      : ended(run.now.type) ? "no task runs" : "no task runs yet";
  }

  // --- What can be seen
  get #live() { return this.#fact === null && this.#run && !ended(this.#run.now.type); }

  get #moment() { return this.#fact === null ? Date.now() : this.#past.facts[this.#fact - 1]?.recorded ?? this.#extent()[0]; }

  #extent() {
    const [from, until] = this.#run.extent(Date.now());
    const margin = (until - from) * MARGIN;
    return [from - margin, until + margin * (this.#live ? 3 : 1)];
  }

  #shown() { return this.#view ?? this.#extent(); }

  #look(from, until) {
    const all = this.#extent(), most = all[1] - all[0];
    const span = Math.max(SPAN_MIN, Math.min(until - from, most));
    if (span >= most) this.#view = null;
    else {
      const start = Math.max(all[0], Math.min(from, all[1] - span));
      this.#view = [start, start + span];
    }
    this.#draw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2) {
    if (!this.#run) return;
    const [from, until] = this.#shown(), width = this.canvas.clientWidth;
    const at = from + (x / width) * (until - from), span = (until - from) / factor;
    this.#look(at - (x / width) * span, at - (x / width) * span + span);
  }

  pan(pixels) {
    if (!this.#view) return;
    const [from, until] = this.#view, by = (pixels / this.canvas.clientWidth) * (until - from);
    this.#look(from + by, until + by);
  }

  fit() { this.#view = null; this.#top = 0; this.#draw(); }

  /** Whether there was anything to scroll. */
  scrollRows(pixels) {
    const before = this.#top, most = Math.max(0, this.#rows.height - this.#height());
    this.#top = Math.max(0, Math.min(most, this.#top + pixels));
    if (this.#top !== before) this.#draw();
    return this.#top !== before;
  }

  #height() { return Math.min(STAGE_HEIGHT, Math.max(40, this.#rows.height ?? 40)); }

  // --- Drawing
  #draw() {
    if (!this.#frames) this.#frames = requestAnimationFrame(() => { this.#frames = 0; this.#paint(); });
  }

  #size(canvas, pen, height) {
    const width = canvas.parentElement.clientWidth, ratio = devicePixelRatio;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return width;
  }

  #paint() {
    if (!this.#run || !this.isConnected) return;
    const began = performance.now();
    const [from, until] = this.#shown(), moment = this.#moment, height = this.#height() + AXIS;
    this.#top = Math.max(0, Math.min(this.#top, this.#rows.height - this.#height()));
    const width = this.#size(this.canvas, this.pen, height);
    const work = paint(this.pen, {
      width, height, rows: this.#rows, top: this.#top, from, until, colours: this.colours, moment, runs: this.#runs, open: this.#open,
      past: this.#fact !== null, live: this.#live, hovered: this.#hovered, chosen: this.#chosen, related: this.#related, edges: this.edges, marks: this.marks,
    });
    this.#strip(from, until, moment);
    /** For measurements: what the last frame had to do. */
    this.drawn = { ...work, marks: this.marks.length, milliseconds: performance.now() - began, frames: (this.drawn?.frames ?? 0) + 1 };
    this.dataset.drawn = "";
    clearTimeout(this.#timer);
    if (this.#live && !document.hidden) this.#timer = setTimeout(() => this.#draw(), TICK_MILLISECONDS);
  }

  // The strip above is drawn anew only if what it shows has changed.
  #strip(from, until, moment) {
    const all = this.#extent(), width = this.strip.parentElement.clientWidth;
    const made = `${width} ${devicePixelRatio} ${this.#fact} ${this.#live ? Math.floor(moment / 1000) : ""} ${this.#run.tasks.size} ${this.#rows.height} ${this.colours.ink}`;
    if (made !== this.made) {
      this.made = made;
      this.#size(this.strip, this.stripPen, OVERVIEW_HEIGHT);
      overview(this.stripPen, this.#run, width, OVERVIEW_HEIGHT, all[0], all[1], moment, this.colours, this.#fact !== null);
    }
    const scale = width / (all[1] - all[0]);
    this.window_.style.left = `${(from - all[0]) * scale}px`;
    this.window_.style.width = `${Math.max(4, (until - from) * scale)}px`;
    this.window_.hidden = !this.#view;
  }

  // --- Pointing, choosing
  #at(x, y) {
    const [from, until] = this.#shown(), moment = from + (x / this.canvas.clientWidth) * (until - from);
    const reach = (REACH / this.canvas.clientWidth) * (until - from), height = y - AXIS + this.#top;
    if (y < AXIS) return null;
    const row = this.#rows.find((row) => height >= row.y && height < row.y + row.h);
    if (!row) return null;
    if (row.waits) return row.tasks[0];
    let found = null, away = Infinity;
    for (let i = Math.max(0, after(row.tasks, moment) - 1); i < row.tasks.length && row.tasks[i].begin <= moment + reach; i++) {
      const task = row.tasks[i];
      if (this.#fact !== null && !task.then) continue;
      const distance = Math.max(task.begin - moment, moment - task.until, 0);
      if (distance <= reach && distance < away) [found, away] = [task, distance];
    }
    return found;
  }

  hover(x, y) {
    const mark = x === null ? null : this.marks.find((one) => Math.abs(one.x - x) <= REACH && Math.abs(one.y - y) <= REACH);
    const task = x === null || mark ? null : this.#at(x, y);
    this.canvas.dataset.over = task || mark ? "yes" : "";
    this.tip.hidden = !task && !mark;
    if (task || mark) {
      this.tip.innerHTML = mark ? this.#aboutMark(mark) : this.#about(task);
      const width = this.canvas.clientWidth;
      this.tip.style.left = `${Math.max(0, Math.min(x + 12, width - this.tip.offsetWidth - 4))}px`;
      this.tip.style.top = `${y + 16}px`;
    }
    if (task !== this.#hovered) { this.#hovered = task; this.#draw(); }
  }

  #what(task) { return this.#fact === null ? task.now : task.then ?? task.now; }

  #times(task) {
    const what = this.#what(task);
    if (what.start === null) return "not started";
    const end = what.end ?? (ended(what.type) ? what.start : this.#moment);
    return `${duration((end - what.start) / 1000)} from ${exactly(new Date(what.start))}`;
  }

  #about(task) {
    const what = this.#what(task);
    return `<b>${escaped(task.name)}</b>${badge(what.type, what.label)}<span>${escaped(this.#times(task))}</span>${task.attempts > 1 ? `<span>${task.attempts} attempts</span>` : ""}${task.sub ? "<span>subflow: press to unfold</span>" : ""}`;
  }

  #aboutMark(mark) {
    return `<b>${escaped(mark.what ?? mark.kind ?? "artifact")}</b><span>${mark.artifact ? `artifact, ${escaped(mark.kind ?? "")}` : `emission about ${escaped(mark.kind)}`}</span><span>${escaped(exactly(new Date(mark.at)))}</span>`;
  }

  press(x, y, twice = false) {
    const mark = this.marks.find((one) => Math.abs(one.x - x) <= REACH && Math.abs(one.y - y) <= REACH);
    if (mark?.artifact) { location.assign(new URL(`artifacts/artifact/${mark.id}`, this.root)); return; }
    const task = this.#at(x, y);
    if (twice) { if (task && !task.sub) this.follow(); return; }
    this.choose(task);
    if (task?.sub) this.unfold();
  }

  choose(task) {
    if (!task && !this.#chosen) return false;
    this.#chosen = task;
    this.#related = task && (task.up.length || task.down.length) ? related(task) : null;
    this.said.hidden = !task;
    if (task) {
      this.#tell();
      const what = this.#what(task);
      clearTimeout(this.speaking);
      this.speaking = setTimeout(() => { this.spoken.textContent = `${task.name}, ${what.label}, ${this.#times(task)}`; }, SAID_MILLISECONDS);
    }
    this.#draw();
  }

  #tell() {
    const task = this.#chosen, what = this.#what(task);
    const page = new URL(task.sub ? `runs/flow-run/${task.sub}` : `runs/task-run/${task.id}`, this.root);
    const log = new URL(`runs/flow-run/${task.run.id}?tab=logs&task=${task.id}`, this.root);
    const started = what.start === null ? "" : `<time datetime="${new Date(what.start).toISOString()}">${relative(new Date(what.start))}</time>`;
    const number = (ids, word) => (ids.length ? `<span class="quiet">${ids.length} ${word}</span>` : "");
    morph(this.said, `${badge(what.type, what.label)}<a class="name" href="${page}">${escaped(task.name)}</a><span class="quiet">${started}</span><span>${escaped(what.start === null ? "not started" : this.#times(task).split(" from ")[0])}</span>${task.attempts > 1 ? `<span class="quiet">${task.attempts} attempts</span>` : ""}${number(task.up, "upstream")}${number(task.down, "downstream")}<span class="links">${task.sub ? "" : `<a href="${log}">Its lines in the log</a>`}<a href="${page}">Open</a></span>`);
  }

  /** Open what is chosen. */
  follow() {
    const task = this.#chosen;
    if (!task) return false;
    location.assign(new URL(task.sub ? `runs/flow-run/${task.sub}` : `runs/task-run/${task.id}`, this.root));
  }

  /** Show a subflow's task runs, or fold them again. */
  async unfold() {
    const id = this.#chosen?.sub;
    if (!id) return false;
    if (this.#open.delete(id)) this.#runs.delete(id);
    else {
      this.#open.add(id);
      try {
        this.#take(await this.#get(id, "timeline"));
      } catch {
        this.#open.delete(id);
        return;
      }
      this.#mark();
    }
    this.#address((query) => {
      query.delete("open");
      for (const one of this.#open) query.append("open", one);
    });
    follow();
    this.#changed();
  }

  #address(change) {
    const address = new URL(location.href);
    change(address.searchParams);
    history.replaceState(history.state, "", address);
  }

  /** From bar to bar: along a lane, or to the nearest of the next row. */
  step(along, across = 0) {
    const lanes = this.#rows.filter((row) => row.tasks.length);
    if (!lanes.length) return false;
    const row = lanes.find((row) => row.tasks.includes(this.#chosen));
    let next;
    if (along === "last") next = lanes.at(-1).tasks.at(-1);
    else if (along === "first" || !row) next = lanes[0].tasks[0];
    else if (across) {
      const other = lanes[lanes.indexOf(row) + across];
      if (!other) return true;
      const place = after(other.tasks, this.#chosen.begin);
      next = other.tasks[Math.min(place, other.tasks.length - 1)];
      const before = other.tasks[place - 1];
      if (before && Math.abs(before.begin - this.#chosen.begin) <= Math.abs(next.begin - this.#chosen.begin)) next = before;
    } else next = row.tasks[row.tasks.indexOf(this.#chosen) + along] ?? this.#chosen;
    this.choose(next);
    this.#reveal(next);
    return true;
  }

  #reveal(task) {
    const row = this.#rows.find((row) => row.tasks.includes(task)), height = this.#height();
    if (row.y < this.#top) this.#top = row.y;
    if (row.y + row.h > this.#top + height) this.#top = row.y + row.h - height;
    if (!this.#view) return;
    const [from, until] = this.#view, span = until - from, end = Math.min(task.until, this.#moment);
    if (end < from || task.begin > until) this.#look(task.begin - span / 2, task.begin + span / 2);
  }

  // --- The past
  /** Whether what was recorded is known; it is asked for with the first need. */
  async #prepare() {
    if (this.#past) return true;
    if (!this.#run || document.getElementById("connection").dataset.is === "gone") return false;
    this.preparing ??= this.#get(this.id_, "facts").then((data) => {
      this.#past = new Past(data);
      this.slider.max = this.#past.length;
      if (this.#fact === null) this.slider.value = this.#past.length;
    }, () => {
      this.then.textContent = "The history could not be read. Try again in a moment.";
    }).finally(() => { this.preparing = null; });
    await this.preparing;
    return this.#past !== null;
  }

  /** Show the run as it was at a position of the log. */
  async goTo(position) {
    if (!(await this.#prepare())) return;
    const number = this.#past.upTo(position);
    this.#show(number >= this.#past.length ? null : number);
  }

  #show(number) {
    this.#fact = number;
    const run = this.#run, past = number !== null;
    document.documentElement.toggleAttribute("data-past", past);
    this.toggleAttribute("data-past", past);
    this.back.hidden = !past;
    this.slider.value = past ? number : this.slider.max;
    if (past) {
      const counts = this.#past.show(run, number), fact = this.#past.facts[number - 1];
      for (const other of this.#runs.values()) if (other !== run) Past.showAt(other, this.#moment);
      const states = [...counts].sort((one, other) => one[0] - other[0]).map(([type, count]) => badge(type, `${count} ${KINDS[type].toLowerCase()}`)).join("");
      const what = run.then;
      this.then.innerHTML = fact
        ? `<b>As it was</b> <span>${escaped(exactly(new Date(fact.recorded)))}</span> <span class="quiet">position ${fact.position}, fact ${number} of ${this.#past.length}</span> ${what ? badge(what.type, what.label) : ""} ${states ? `<span class="counts">Task runs: ${states}</span>` : ""} <span class="quiet">What stands above and below is how it is now.</span>`
        : "<b>As it was</b> before anything was recorded";
      this.slider.setAttribute("aria-valuetext", fact ? `position ${fact.position}, ${what?.label ?? "no state"}` : "before anything");
    } else {
      this.then.textContent = "";
      this.slider.removeAttribute("aria-valuetext");
      for (const one of this.#runs.values()) Past.forget(one);
      if (this.stale) this.#past = null;
      this.stale = false;
    }
    this.#address((query) => {
      query.delete("at");
      if (past) query.set("at", this.#past.facts[number - 1]?.position ?? 0);
    });
    if (this.#chosen) this.#tell();
    this.#draw();
  }
}

customElements.define("run-timeline", RunTimeline);

/** "1,208 task runs" with a thin space; empty for none. */
function counted(number, what) {
  if (!number) return "";
  return `${grouped(number)} ${what}${number === 1 ? "" : "s"}`;
}
