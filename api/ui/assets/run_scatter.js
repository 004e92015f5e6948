// <run-scatter>: duration over start time, a dot a flow run, its state by shape and colour. Dragging
// narrows the list to a stretch of time, a click opens a run; the list below is the same for the keyboard.

import { duration, exactly, grouped, writer } from "./times.js";

const HEIGHT = 152, LEFT = 44, RIGHT = 8, TOP = 8, BOTTOM = 20; // Pixels.
const DOTS_MAX = 2000; // With more, which came while the page was open, a sample is read again.
const NEAR = 10; // So near to a dot means that dot.
const DRAGGED = 6; // Less is a click.
const TICK_MILLISECONDS = 1000; // The picture goes on with the clock so often, if it would differ.
const LEAST = 0.1; // Seconds: what is quicker lies on the line at the bottom.
const TICKS = [0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400];
// Shapes in a square of 8: a path, and whether it is filled.
const SHAPES = {
  COMPLETED: ["M4 1a3 3 0 1 0 .01 0z", true],
  RUNNING: ["M4 .5a3.500 3.500 0 1 0 .01 0z", false],
  FAILED: ["M1 1l6 6M7 1l-6 6", false],
  CRASHED: ["M4 .5 7.500 7h-7z", true],
  CANCELLED: ["M4 .5 7.500 4 4 7.500.5 4z", false],
  CANCELLING: ["M4 .5 7.500 4 4 7.500.5 4z", true],
  PAUSED: ["M1.500 1.500h5v5h-5z", false],
  SCHEDULED: ["M4 1v6M1 4h6", false],
  PENDING: ["M1 4h6", false],
};
const PATHS = Object.fromEntries(Object.entries(SHAPES).map(([name, [path, filled]]) => [name, [new Path2D(path), filled]]));
const hour = writer({ hour: "2-digit", minute: "2-digit" });
const day = writer({ month: "short", day: "numeric" });
const STEPS = [1, 5, 15, 60, 180, 720, 1440, 2880, 10080, 43200, 129600].map((minutes) => minutes * 60_000);

customElements.define("run-scatter", class extends HTMLElement {
  connectedCallback() {
    if (!this.canvas) this.build();
    this.stop = new AbortController();
    const options = { signal: this.stop.signal }, on = (target, name, act) => target.addEventListener(name, act, options);
    on(this.canvas, "pointermove", (event) => this.moved(event));
    on(this.canvas, "pointerleave", () => this.over(null));
    on(this.canvas, "pointerdown", (event) => { if (event.button === 0 && event.pointerType !== "touch") { this.from = event.offsetX; this.canvas.setPointerCapture(event.pointerId); } });
    on(this.canvas, "pointercancel", () => { this.from = null; this.draw(); });
    on(this.canvas, "pointerup", (event) => this.released(event));
    on(this.canvas, "click", (event) => { if (event.pointerType === "touch") this.openAt(event); });
    on(document, "keydown", (event) => { if (event.key === "Escape" && this.from !== null) { this.from = null; this.draw(); } });
    on(document, "htmx:pushedIntoHistory", () => this.load());
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.draw());
    const sized = new ResizeObserver(() => this.draw()), themed = new MutationObserver(() => this.draw());
    sized.observe(this);
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    const ticking = setInterval(() => { if (!document.hidden) this.tick(); }, TICK_MILLISECONDS);
    on(document, "visibilitychange", () => { if (!document.hidden) this.tick(); });
    this.stop.signal.addEventListener("abort", () => { clearInterval(ticking); sized.disconnect(); themed.disconnect(); });
    this.load();
  }

  disconnectedCallback() { this.stop.abort(); this.asked = null; }

  build() {
    const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
    this.canvas = make("canvas", {});
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Duration over start time");
    this.tip = make("div", { className: "tip", hidden: true });
    this.legend = make("ul", { className: "legend" });
    this.said = make("span", {});
    const below = make("div", { className: "below" });
    below.append(this.said, this.legend);
    this.append(this.canvas, below, this.tip);
    this.dots = new Map();
    this.from = null;
    this.chosen = null;
  }

  async load() {
    const query = new URLSearchParams(location.search);
    for (const name of ["after", "before", "sort"]) query.delete(name);
    const asked = query.toString();
    if (asked === this.asked) return;
    this.asked = asked;
    try {
      const answer = await fetch(`${this.dataset.source}?${asked}`);
      if (!answer.ok) throw new Error(answer.status);
      const told = await answer.json();
      if (this.asked !== asked) return;
      Object.assign(this, { total: told.total, sampled: told.sampled, since: told.since, until: told.until, open: told.now, span: told.span, ahead: told.at - Date.now() });
      this.dots = new Map(told.dots.map((dot) => [dot[0], dot]));
      this.tell();
      this.draw();
    } catch {
      if (this.asked !== asked) return;
      this.asked = null;
      this.hidden = false;
      this.said.textContent = "The picture could not be read; the list below is not affected. It is tried again with the next change.";
    }
  }

  /** What has changed of some runs, over the page's live stream. */
  receive(news) {
    if (news.again || this.asked === null) { this.asked = null; this.load(); return; }
    const known = news.ids.filter((id) => this.dots.delete(id));
    this.total -= known.length;
    for (const dot of news.dots) {
      this.dots.set(dot[0], dot);
      // Of a sample, a run that was not in it is new only if it has started since.
      if (known.includes(dot[0]) || !this.sampled || dot[2] > this.until) this.total += 1;
      this.since = Math.min(this.since ?? dot[2], dot[2]);
      this.until = Math.max(this.until ?? dot[2], dot[2]);
    }
    if (this.span) this.go();
    if (this.dots.size > DOTS_MAX) { this.asked = null; this.load(); return; }
    this.tell();
    this.draw();
  }

  /** The server's time. */
  now() { return Date.now() + (this.ahead ?? 0); }

  /** A window that ends now goes on, and what runs gets longer, though nothing is told. */
  tick() {
    if (this.span) this.go();
    else if (![...this.dots.values()].some((dot) => dot[6])) return;
    if (this.from === null && !this.hidden) this.draw();
  }

  go() {
    this.until = this.now();
    this.since = this.until - this.span;
    let gone = 0;
    for (const [id, dot] of this.dots) if (dot[2] < this.since) { this.dots.delete(id); gone += 1; }
    if (!gone) return;
    // How many of those went that a sample does not show, the server tells with the next window.
    if (!this.sampled) this.total -= gone;
    if (this.chosen && !this.dots.has(this.chosen[0])) this.over(null);
    this.tell();
  }

  tell() {
    const shown = this.dots.size;
    const drag = matchMedia("(pointer: fine)").matches ? "; drag to narrow it" : "";
    this.hidden = !shown && !this.total; // The list below says why there is nothing.
    if (!shown) this.said.textContent = this.total ? "None of these runs has started" : "No runs";
    else if (this.sampled) this.said.textContent = `A sample of ${grouped(shown)} of ${grouped(this.total)} runs, spread over the time${drag}`;
    else this.said.textContent = `${grouped(shown)} ${shown === 1 ? "run" : "runs"} by start and duration${drag.replace("it", "the time")}`;
    this.canvas.setAttribute("aria-label", `Duration over start time. ${this.said.textContent}. The list below has them all.`);
    const kinds = new Set([...this.dots.values()].map((dot) => dot[4]));
    this.legend.replaceChildren(...Object.keys(SHAPES).filter((kind) => kinds.has(kind)).map((kind) => {
      const item = document.createElement("li"), [path, filled] = SHAPES[kind];
      item.dataset.state = kind;
      item.innerHTML = `<svg viewBox="0 0 8 8" aria-hidden="true"${filled ? ' class="filled"' : ""}><path d="${path}"/></svg>`;
      item.append(kind[0] + kind.slice(1).toLowerCase());
      return item;
    }));
  }

  // --- Places

  spans() {
    const now = this.now();
    let since = this.since ?? now - 3_600_000, until = this.until ?? now;
    if (this.open) until = Math.max(until, [...this.dots.values()].some((dot) => dot[6]) ? now : until);
    const least = 60_000;
    if (until - since < least) { const middle = (until + since) / 2; since = middle - least / 2; until = middle + least / 2; }
    return [since, until];
  }

  seconds(dot) { return dot[3] + (dot[6] ? Math.max(0, this.now() - dot[6]) / 1000 : 0); }

  place() {
    const width = this.canvas.clientWidth, [since, until] = this.spans();
    const top = Math.max(10, ...[...this.dots.values()].map((dot) => this.seconds(dot)));
    const high = Math.log(top / LEAST);
    return {
      width, since, until, top,
      x: (at) => LEFT + 4 + ((at - since) / (until - since)) * (width - LEFT - RIGHT - 8),
      y: (seconds) => HEIGHT - BOTTOM - (Math.log(Math.max(seconds, LEAST) / LEAST) / high) * (HEIGHT - TOP - BOTTOM),
      at: (x) => since + Math.max(0, Math.min(1, (x - LEFT - 4) / (width - LEFT - RIGHT - 8))) * (until - since),
    };
  }

  draw() {
    const { canvas } = this, ratio = devicePixelRatio || 1, width = canvas.clientWidth;
    if (!width) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(HEIGHT * ratio);
    const pen = canvas.getContext("2d"), style = getComputedStyle(this), colours = new Map();
    pen.scale(ratio, ratio);
    // Colours are light-dark() in the tokens; an element with the state resolves them.
    const colour = (kind) => {
      if (!colours.has(kind)) {
        const probe = document.createElement("i");
        probe.dataset.state = kind ?? "NONE";
        probe.style.color = "var(--state)";
        this.append(probe);
        colours.set(kind, getComputedStyle(probe).color);
        probe.remove();
      }
      return colours.get(kind);
    };
    const token = (name) => {
      const probe = document.createElement("i");
      probe.style.color = `var(${name})`;
      this.append(probe);
      const found = getComputedStyle(probe).color;
      probe.remove();
      return found;
    };
    const [faint, line, accent] = [token("--ink-3"), token("--border"), token("--accent")];
    const place = (this.placed = this.place());
    pen.font = `11px ${style.fontFamily}`;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    let lastY = Infinity;
    for (const tick of TICKS) {
      if (tick > place.top * 1.01) break;
      const y = Math.round(place.y(tick)) + 0.5;
      if (lastY - y < 16) continue;
      lastY = y;
      pen.strokeStyle = line;
      pen.beginPath(); pen.moveTo(LEFT, y); pen.lineTo(width - RIGHT, y); pen.stroke();
      pen.fillStyle = faint;
      pen.fillText(tick === LEAST ? "0.1 s" : duration(tick).replace(/ 00? [a-z]+$/, "").replace(/\.0/, ""), LEFT - 6, y);
    }
    const span = place.until - place.since, room = Math.max(2, Math.floor((width - LEFT) / 90));
    const step = STEPS.find((one) => span / one <= room) ?? STEPS.at(-1) * Math.ceil(span / room / STEPS.at(-1));
    const zone = new Date(place.since).getTimezoneOffset() * 60_000;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    for (let at = Math.ceil((place.since - zone) / step) * step + zone; at <= place.until; at += step) {
      const moment = new Date(at), midnight = moment.getHours() === 0 && moment.getMinutes() === 0;
      const text = step >= 86_400_000 || midnight ? day.format(moment) : hour.format(moment);
      const x = Math.max(LEFT + 16, Math.min(width - RIGHT - 16, place.x(at)));
      pen.fillText(text, x, HEIGHT - 5);
    }
    for (const dot of this.dots.values()) {
      const x = place.x(dot[2]), y = place.y(this.seconds(dot)), [path, filled] = PATHS[dot[4]] ?? PATHS.PENDING;
      pen.save();
      pen.translate(x - 4, y - 4);
      pen.strokeStyle = pen.fillStyle = colour(dot[4]);
      pen.lineWidth = 1.5;
      pen.globalAlpha = dot[4] === "COMPLETED" ? 0.7 : 1;
      if (filled) pen.fill(path); else pen.stroke(path);
      pen.restore();
      if (this.chosen === dot) { pen.strokeStyle = accent; pen.beginPath(); pen.arc(x, y, 7, 0, 2 * Math.PI); pen.stroke(); }
    }
    if (this.from !== null) {
      const [a, b] = [this.from, this.to ?? this.from].sort((one, other) => one - other);
      pen.fillStyle = accent;
      pen.globalAlpha = 0.14;
      pen.fillRect(a, TOP, b - a, HEIGHT - TOP - BOTTOM);
      pen.globalAlpha = 1;
    }
  }

  nearest(x, y) {
    let best = null, distance = NEAR * NEAR;
    for (const dot of this.dots.values()) {
      const away = (this.placed.x(dot[2]) - x) ** 2 + (this.placed.y(this.seconds(dot)) - y) ** 2;
      if (away < distance) { distance = away; best = dot; }
    }
    return best;
  }

  // --- What the person does

  over(dot) {
    if (dot !== this.chosen) { this.chosen = dot; this.canvas.toggleAttribute("data-over", Boolean(dot)); this.draw(); }
    this.tip.hidden = !dot;
    if (!dot) return;
    const name = document.createElement("b");
    name.textContent = dot[1];
    this.tip.replaceChildren(name, `${dot[5] ?? dot[4]} · ${duration(this.seconds(dot))} · ${exactly(new Date(dot[2]))}`);
    const x = this.placed.x(dot[2]) + this.canvas.offsetLeft, y = this.placed.y(this.seconds(dot)) + this.canvas.offsetTop;
    this.tip.style.left = `${Math.max(4, Math.min(this.clientWidth - this.tip.offsetWidth - 4, x + 12))}px`;
    this.tip.style.top = `${y + 14}px`;
  }

  moved(event) {
    if (this.from !== null) { this.to = event.offsetX; this.over(null); this.draw(); return; }
    this.over(this.nearest(event.offsetX, event.offsetY));
  }

  released(event) {
    if (this.from === null) return;
    const from = this.from;
    this.from = this.to = null;
    if (Math.abs(event.offsetX - from) < DRAGGED) { this.openAt(event); this.draw(); return; }
    const [since, until] = [from, event.offsetX].sort((a, b) => a - b).map((x) => new Date(this.placed.at(x)).toISOString());
    this.draw();
    this.narrow(since, until);
  }

  openAt(event) {
    const dot = this.nearest(event.offsetX, event.offsetY);
    if (dot) location.assign(`${document.documentElement.dataset.root}runs/flow-run/${dot[0]}`);
  }

  /** The filter form takes the stretch, and with it the list and the address. */
  narrow(since, until) {
    const form = document.getElementById("filters");
    for (const [name, value] of [["since", since], ["until", until]]) {
      Object.assign(form.elements[name], { value, disabled: false });
    }
    const all = form.querySelector("input[name=range][value='']");
    if (all) all.checked = true;
    form.requestSubmit();
  }
});
