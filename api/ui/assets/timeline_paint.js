// Draws a timeline on a canvas: only what can be seen, all rectangles of one look together.

import { ticks } from "./timeline_axis.js";
import { CRASHED, FAILED, KINDS, RUNNING, SCHEDULED, ended, firstUntil } from "./timeline_model.js";

export const AXIS = 24;
const NAMES_FROM = 14; // Rows as high as this have names.
const NAME_PIXELS_MIN = 26, HATCH_PIXELS_MIN = 3, WHOLE_PIXELS_MIN = 6, BAR_PIXELS_MIN = 1.5, ARROWS_MAX = 400, ARROWS_ALWAYS_MAX = 60;
const CHARACTER = 6.4, BOLD_CHARACTER = 7; // Pixels, about; measuring each name would take longer than drawing it.
const MARK_PIXELS = 7; // To either side of its place.
const FAINT = 0.22;
const FAINTLY = 100; // Added to a type: the same, but not among what the choice is about.

// The outlines of icons.svg, 16 x 16: a state is never told by its colour alone.
const GLYPHS = {
  2: "M5.5 4.5 11.500 8 5.500 11.500z", 3: "m4 8.250 2.750 2.750L12 5", 4: "m4.500 4.500 7 7m0-7-7 7",
  5: "M3.500 12.500l9-9", 6: "M8 3 13.500 13H2.500zM8 7v2.500", 7: "M5.500 4v8m5-8v8", 8: "M3.500 12.500l9-9",
};
const glyphs = new Map();
const glyph = (type) => {
  if (GLYPHS[type] && !glyphs.has(type)) glyphs.set(type, new Path2D(GLYPHS[type]));
  return glyphs.get(type);
};

/** The colours of the theme as the browser computes them; asked anew when the theme changes. */
export function palette(element) {
  const probe = document.createElement("i");
  element.append(probe);
  const read = (value) => { probe.style.color = value; return getComputedStyle(probe).color; };
  const found = { states: KINDS.map((kind) => read(`var(--${kind.toLowerCase()})`)) };
  for (const name of ["surface", "sunken", "ink", "ink-2", "ink-3", "border", "border-strong", "accent", "focus", "late", "unknown"]) found[name] = read(`var(--${name})`);
  found.tints = found.states.map((_, i) => read(`color-mix(in srgb, var(--${KINDS[i].toLowerCase()}) 20%, var(--surface))`));
  found.bars = found.states.map((_, i) => read(`color-mix(in srgb, var(--${KINDS[i].toLowerCase()}) 78%, var(--surface))`));
  const style = getComputedStyle(element);
  found.font = style.fontFamily;
  probe.remove();
  found.hatches = new Map();
  return found;
}

function hatch(context, colours, type, dense) {
  const name = `${type} ${dense}`;
  if (!colours.hatches.has(name)) {
    const size = dense ? 6 : 8, tile = new OffscreenCanvas(size, size), pen = tile.getContext("2d");
    pen.strokeStyle = dense ? colours.surface : colours.states[type];
    pen.globalAlpha = dense ? 0.75 : 0.3;
    pen.lineWidth = dense ? 1.25 : 1.5;
    pen.beginPath();
    for (const at of [-size, 0, size]) {
      pen.moveTo(at, size);
      pen.lineTo(at + size, 0);
      if (type === CRASHED) { pen.moveTo(at, 0); pen.lineTo(at + size, size); }
    }
    pen.stroke();
    colours.hatches.set(name, context.createPattern(tile, "repeat"));
  }
  return colours.hatches.get(name);
}

/** One frame. `scene` is what timeline.js knows; gives how much there was to do. */
export function paint(context, scene) {
  const { width, height, rows, top, from, until, colours, moment, past } = scene;
  const scale = width / (until - from);
  const x = (at) => (at - from) * scale;
  const work = { bars: 0, looked: 0 };
  context.clearRect(0, 0, width, height);
  context.font = `11px ${colours.font}`;
  context.textBaseline = "middle";

  const marks = ticks(from, until, width);
  context.fillStyle = colours.border;
  for (const mark of marks) context.fillRect(Math.round(x(mark.at)), AXIS, 1, height - AXIS);

  context.save();
  context.beginPath();
  context.rect(0, AXIS, width, height - AXIS);
  context.clip();

  // What lies after `moment` has not happened yet.
  const edge = Math.min(until, moment);
  const solid = new Map(), tinted = new Map(), lines = new Map(), hatched = [], texts = [], icons = [], places = new Map();
  // Flat lists, four numbers a rectangle: thousands of small arrays a frame would be most of its work.
  const put = (into, type, left, y, wide, tall) => {
    let list = into.get(type);
    if (!list) into.set(type, (list = []));
    list.push(left, y, wide, tall);
  };
  const placed = scene.related !== null || scene.edges <= ARROWS_ALWAYS_MAX;
  for (let at = firstRow(rows, top); at < rows.length; at++) {
    const row = rows[at], y = row.y - top + AXIS;
    if (y > height) break;
    if (row.depth) {
      context.fillStyle = colours.sunken;
      context.fillRect(0, y, width, row.h + (row.own ? 4 : 0));
      context.fillStyle = colours["border-strong"];
      context.fillRect((row.depth - 1) * 4, y, 2, row.h + (row.own ? 4 : 0));
    }
    if (row.own) {
      own(row, y);
      continue;
    }
    const dense = row.h < NAMES_FROM, gap = dense ? 1 : 2, tall = row.h - gap;
    let covered = -1; // The last column of pixels that is taken in this row.
    for (let n = firstUntil(row.tasks, from); n < row.tasks.length; n++) {
      const task = row.tasks[n];
      const what = past ? task.then : task.now;
      work.looked++;
      if (task.begin > until && (task.now.states[0]?.at ?? Infinity) > until) break;
      if (!what) continue;
      const begin = what.start ?? what.states[0]?.at ?? task.begin;
      const end = what.end ?? (ended(what.type) ? what.states.at(-1)?.at ?? begin : edge);
      const left = x(begin), right = Math.max(x(Math.max(end, begin)), left + BAR_PIXELS_MIN);
      if (placed || task.marked || task === scene.hovered || task === scene.chosen) places.set(task, [left, right, y, tall]);
      if (right < -1 || begin > until) { waits(task, what, begin, n, row, y, tall, x); continue; }
      // Nobody can see two bars in one column of pixels; a failure goes before the others.
      if (right <= covered && what.type !== FAILED && what.type !== CRASHED) continue;
      covered = Math.max(covered, Math.floor(right));
      work.bars++;
      const faint = scene.related && !scene.related.has(task);
      // Of the many that are a few pixels wide nothing but their colour can be seen.
      if (dense && right - left < WHOLE_PIXELS_MIN) {
        put(solid, what.type === SCHEDULED ? FAILED : faint ? what.type + FAINTLY : what.type, left, y, Math.max(BAR_PIXELS_MIN, right - left - 1), tall);
        continue;
      }
      waits(task, what, begin, n, row, y, tall, x);
      const widest = segments(task, what, begin, end, y, tall, dense, faint);
      if (!dense) {
        const next = row.tasks[n + 1];
        const room = next ? x(next.begin) - right : width - right;
        named(task, what, widest, right, room, y, tall, faint, row.depth ? colours.sunken : colours.surface);
      }
    }
  }

  function own(row, y) {
    const what = past ? row.run.then : row.run.now;
    if (!what) return;
    for (let i = 0; i < what.states.length; i++) {
      const state = what.states[i];
      const next = what.states[i + 1]?.at ?? (ended(state.type) ? null : edge);
      if (next === null) { put(solid, state.type, x(state.at) - 1, y + 4, 3, row.h - 6); continue; }
      if (state.at > until || next < from) continue;
      const left = Math.max(-2, x(state.at)), wide = Math.max(1, Math.min(width + 2, x(next)) - left);
      const running = state.type === RUNNING;
      put(running ? solid : lines, state.type, left, running ? y + row.h - 6 : y + row.h - 4, wide, running ? 4 : 2);
    }
    const { run } = row, shown = (one) => !one.task && !(past && one.at > moment);
    const marks = [...run.artifacts, ...run.emissions].filter(shown).map((one) => x(one.at));
    const left = besides(marks, 4 + row.depth * 4, run.name.length * BOLD_CHARACTER, width / 2);
    texts.push([run.name, left, y + row.h / 2 - 3, colours["ink-2"], 600, null]);
  }

  function waits(task, what, begin, n, row, y, tall, x) {
    const known = what.states[0]?.at;
    if (known === undefined || known >= begin) return;
    const before = n > 0 ? row.tasks[n - 1].until : -Infinity;
    const left = Math.max(x(known), x(Math.max(before, from)), -1), right = x(begin);
    if (right - left >= 1 && right > 0) put(lines, what.states[0].type, left, y + tall / 2 - 1, Math.min(right, width) - left, 2);
  }

  // Each stretch of running has the look of how it ended: a failed attempt is seen as one. Gives
  // where the widest stretch begins and ends.
  function segments(task, what, begin, end, y, tall, dense, faint) {
    const into = dense ? solid : tinted;
    const states = what.states;
    const widest = [0, 0];
    const one = (type, since, till) => {
      const left = Math.max(-4, x(since)), wide = Math.min(width + 4, x(till)) - left;
      if (wide < -1) return;
      if (wide > widest[1] - widest[0]) [widest[0], widest[1]] = [left, left + wide];
      const shown = Math.max(BAR_PIXELS_MIN, wide - (wide > 4 ? 1 : 0));
      put(into, faint && type >= 0 ? type + FAINTLY : type, left, y, shown, tall);
      if ((type === FAILED || type === CRASHED) && shown >= HATCH_PIXELS_MIN) hatched.push([type, dense, left, y, shown, tall]);
    };
    let stretches = 0;
    for (const state of states) if (state.type === RUNNING) stretches++;
    if (stretches < 2 || (end - begin) * scale < 4) {
      // What has not started is no bar yet: a frame of one.
      if (task.waits && !dense && what.start === null) {
        one(-1, begin, end);
        put(lines, what.type, x(begin), y, 2, tall);
      } else one(what.type === SCHEDULED ? FAILED : what.type, begin, end);
      return widest;
    }
    for (let i = 0; i < states.length; i++) {
      const state = states[i], next = states[i + 1];
      const till = next?.at ?? end;
      if (state.type === RUNNING) one(!next ? RUNNING : next.type === SCHEDULED ? FAILED : next.type, state.at, till);
      else if (i > 0 && next && !ended(state.type)) put(lines, state.type, x(state.at), y + tall / 2 - 1, Math.max(1, x(till) - x(state.at)), 2);
    }
    return widest;
  }

  function named(task, what, [from, to], right, room, y, tall, faint, ground) {
    const start = Math.max(from, 0), wide = Math.min(to, width) - start;
    const name = task.sub ? `${scene.open.has(task.sub) ? "▾" : "▸"} ${task.name}` : task.name;
    const ink = faint ? colours["ink-3"] : colours.ink;
    const icon = tall >= 18 && wide > 16 ? 15 : 0;
    if (icon) icons.push([what.type, start + 3, y + tall / 2 - 5.5]);
    const inside = wide - icon - 6;
    if (inside >= Math.min(NAME_PIXELS_MIN, name.length * CHARACTER)) texts.push([fit(name, inside), start + icon + 4, y + tall / 2 + 0.5, ink, 400, null]);
    else if (room > NAME_PIXELS_MIN + 8) texts.push([fit(name, room - 10), right + 4, y + tall / 2 + 0.5, faint ? colours["ink-3"] : colours["ink-2"], 400, ground]);
  }

  function fill(rectangles) {
    for (let i = 0; i < rectangles.length; i += 4) context.fillRect(rectangles[i], rectangles[i + 1], rectangles[i + 2], rectangles[i + 3]);
  }

  for (const [type, rectangles] of tinted) {
    const faint = type >= FAINTLY, kind = faint ? type - FAINTLY : type;
    context.globalAlpha = faint ? 0.45 : 1;
    context.fillStyle = colours.tints[kind] ?? colours.sunken;
    fill(rectangles);
    if (kind < 0) continue;
    context.fillStyle = colours.states[kind];
    for (let i = 0; i < rectangles.length; i += 4) {
      const left = rectangles[i], y = rectangles[i + 1], wide = rectangles[i + 2], tall = rectangles[i + 3];
      context.fillRect(left, y, Math.min(2, wide), tall);
      if (wide > 2) context.fillRect(left, y + tall - 1, wide, 1);
    }
  }
  for (const [type, rectangles] of solid) {
    const faint = type >= FAINTLY, kind = faint ? type - FAINTLY : type;
    context.globalAlpha = faint ? FAINT : 1;
    context.fillStyle = colours.bars[kind] ?? colours.unknown;
    fill(rectangles);
  }
  context.globalAlpha = 1;
  for (const [type, rectangles] of lines) {
    context.globalAlpha = 0.55;
    context.fillStyle = colours.states[type] ?? colours.unknown;
    fill(rectangles);
  }
  context.globalAlpha = 1;
  for (const [type, dense, ...rectangle] of hatched) {
    context.fillStyle = hatch(context, colours, type, dense);
    context.fillRect(...rectangle);
  }
  arrows(context, scene, places, x);
  context.lineWidth = 1.6;
  context.lineCap = context.lineJoin = "round";
  for (const [type, left, y] of icons) {
    const path = glyph(type);
    if (!path) continue;
    context.save();
    context.translate(left, y);
    context.scale(0.7, 0.7);
    context.strokeStyle = context.fillStyle = colours.states[type];
    if (type === RUNNING) context.fill(path);
    else context.stroke(path);
    context.restore();
  }
  let weight = 400;
  for (const [text, left, y, ink, heavy, ground] of texts) {
    if (heavy !== weight) { weight = heavy; context.font = `${weight} 11px ${colours.font}`; }
    if (ground) { // Arrows pass behind it.
      context.strokeStyle = ground;
      context.lineWidth = 3;
      context.strokeText(text, left, y);
    }
    context.fillStyle = ink;
    context.fillText(text, left, y);
  }
  made(context, scene, rows, places, x, top);
  for (const [task, look] of [[scene.hovered, "ink-3"], [scene.chosen, "focus"]]) {
    const place = task && places.get(task);
    if (!place) continue;
    context.strokeStyle = colours[look];
    context.lineWidth = look === "focus" ? 2 : 1;
    const [left, right, y, tall] = place;
    context.strokeRect(Math.max(left, 0) - 1, y - 1, Math.min(right, width) - Math.max(left, 0) + 2, tall + 2);
  }
  context.restore();

  if (moment >= from && moment <= until && (scene.live || past)) {
    context.fillStyle = past ? colours.late : colours.accent;
    context.fillRect(Math.round(x(moment)), AXIS - 6, past ? 2 : 1, height);
  }
  context.fillStyle = colours.border;
  context.fillRect(0, AXIS - 1, width, 1);
  context.font = `11px ${colours.font}`;
  let free = 0;
  for (const mark of marks) {
    const left = Math.round(x(mark.at)) + 4;
    if (left < free || left + mark.text.length * CHARACTER > width) continue;
    context.fillStyle = mark.major ? colours.ink : colours["ink-2"];
    context.fillText(mark.text, left, AXIS / 2);
    free = left + mark.text.length * CHARACTER + 8;
  }
  if (rows.height > height - AXIS) {
    const track = height - AXIS, thumb = Math.max(24, (track * track) / rows.height);
    context.fillStyle = colours["border-strong"];
    context.fillRect(width - 5, AXIS + (top / (rows.height - track)) * (track - thumb), 4, thumb);
  }
  return work;
}

function firstRow(rows, top) {
  let low = 0, high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].y + rows[middle].h < top) low = middle + 1;
    else high = middle;
  }
  return low;
}

function fit(text, pixels) {
  const most = Math.floor(pixels / CHARACTER);
  return text.length <= most ? text : most > 2 ? `${text.slice(0, most - 1)}…` : "";
}

function arrows(context, scene, places, x) {
  const about = scene.related ?? (scene.edges <= ARROWS_ALWAYS_MAX ? null : undefined);
  if (about === undefined) return;
  context.strokeStyle = context.fillStyle = scene.related ? scene.colours.accent : scene.colours["border-strong"];
  context.lineWidth = scene.related ? 1.5 : 1;
  context.beginPath();
  let drawn = 0;
  const heads = [];
  for (const [task, [left, , y, tall]] of places) {
    if (about && !about.has(task)) continue;
    for (const id of task.up) {
      const before = task.run.tasks.get(id), from = before && places.get(before);
      if (!from || (about && !about.has(before)) || ++drawn > ARROWS_MAX) continue;
      const [, end, otherY, otherTall] = from;
      const startY = otherY + otherTall / 2, endY = y + tall / 2, bend = Math.max(8, Math.min(40, Math.abs(left - end) / 2));
      context.moveTo(end, startY);
      context.bezierCurveTo(end + bend, startY, left - bend, endY, left - 3, endY);
      heads.push([left, endY]);
    }
  }
  context.stroke();
  context.beginPath();
  for (const [left, y] of heads) {
    context.moveTo(left, y);
    context.lineTo(left - 5, y - 3);
    context.lineTo(left - 5, y + 3);
  }
  context.fill();
}

// What was left behind (diamonds) and what was told to the world (flags).
function made(context, scene, rows, places, x, top) {
  const { colours, moment, past, width } = scene;
  scene.marks.length = 0;
  const place = new Map();
  for (const row of rows) if (row.own) place.set(row.run, row.y - top + AXIS);
  for (const run of scene.runs.values()) {
    if (!place.has(run)) continue;
    for (const one of [...run.artifacts, ...run.emissions]) {
      if (past && one.at > moment) continue;
      const at = x(one.at);
      if (at < -6 || at > width + 6) continue;
      const task = one.task && run.tasks.get(one.task), bar = task && places.get(task);
      const y = bar ? bar[2] + 1 : place.get(run) + 6;
      scene.marks.push({ ...one, x: at, y });
      context.fillStyle = colours.accent;
      context.strokeStyle = colours.surface;
      context.lineWidth = 1;
      context.beginPath();
      if (one.artifact) {
        context.moveTo(at, y - 4); context.lineTo(at + 4, y); context.lineTo(at, y + 4); context.lineTo(at - 4, y); context.closePath();
      } else {
        context.moveTo(at - 0.5, y + 8); context.lineTo(at - 0.5, y - 5); context.lineTo(at + 7, y - 2.5); context.lineTo(at + 0.5, y); context.lineTo(at + 0.5, y + 8); context.closePath();
      }
      context.fill();
      context.stroke();
    }
  }
}

/** Where a name of `wide` pixels begins so that no mark stands on it: at `left` or right of marks, and at
 *  `left` all the same if it would end beyond `most`. Tests ask for it by itself. */
export function besides(marks, left, wide, most) {
  let at = left;
  for (const mark of marks.sort((a, b) => a - b)) {
    if (mark + MARK_PIXELS > at && mark - MARK_PIXELS < at + wide) at = mark + MARK_PIXELS + 2;
  }
  return at + wide <= most ? at : left;
}

/** The whole of a run in a strip: how much ran at a time, and where something failed. */
export function overview(context, run, width, height, from, until, moment, colours, past) {
  context.clearRect(0, 0, width, height);
  const columns = Math.max(1, Math.floor(width / 2)), per = columns / (until - from);
  const change = new Float64Array(columns + 1), failed = new Uint16Array(columns);
  const column = (at) => Math.max(0, Math.min(columns - 1, Math.floor((at - from) * per)));
  for (const task of run.tasks.values()) {
    const what = past ? task.then : task.now;
    if (!what || (what.start === null && !ended(what.type))) continue;
    const begin = what.start ?? task.begin, end = what.end ?? (ended(what.type) ? begin : moment);
    change[column(begin)]++;
    change[column(end) + 1]--;
    if (what.type === FAILED || what.type === CRASHED) failed[column(end)]++;
  }
  let most = 1, at = 0;
  const heights = new Float64Array(columns);
  for (let i = 0; i < columns; i++) { at += change[i]; heights[i] = at; most = Math.max(most, at); }
  context.fillStyle = colours["border-strong"];
  for (let i = 0; i < columns; i++) {
    const tall = Math.ceil((heights[i] / most) * (height - 4));
    if (tall) context.fillRect(i * 2, height - tall, 2, tall);
  }
  context.fillStyle = colours.states[FAILED];
  for (let i = 0; i < columns; i++) {
    const tall = failed[i] && Math.max(2, Math.ceil((failed[i] / most) * (height - 4)));
    if (tall) context.fillRect(i * 2, height - tall, 2, tall);
  }
}

/** The most that ran at a time. */
export function most(run) {
  const changes = [];
  for (const task of run.tasks.values()) {
    if (task.now.start === null) continue;
    changes.push([task.now.start, 1]);
    if (task.until !== Infinity) changes.push([task.until, -1]);
  }
  changes.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  let at = 0, found = 0;
  for (const [, by] of changes) { at += by; found = Math.max(found, at); }
  return found;
}

