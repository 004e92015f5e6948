// What a timeline knows: flow runs with their task runs, packed into lanes. No drawing here.
//
// Times are milliseconds since 1970. A task run has `now`, what it is, and while somebody looks at
// the past `then`, what it was: {type, label, start, end, states}.

export const KINDS = ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING", "LATE"];
export const SCHEDULED = 0, PENDING = 1, RUNNING = 2, COMPLETED = 3, FAILED = 4, CANCELLED = 5, CRASHED = 6, PAUSED = 7;
const LATE = 9;
/** Late is a state of its own to the eye. */
export const kind = (type, label) => (type === SCHEDULED && label === "Late" ? LATE : type);
export const ended = (type) => type >= COMPLETED && type <= CRASHED;

const nothing = () => ({ type: -1, label: "", start: null, end: null, states: [] });

class Task {
  constructor(id, run) {
    this.id = id;
    this.run = run;
    this.now = nothing();
    this.then = null;
    this.up = [];
    this.down = [];
    this.lane = null;
  }

  /** Where its bar begins. */
  get begin() { return this.now.start ?? this.now.states[0]?.at ?? this.due ?? 0; }

  /** Where its bar ends: never, for one that goes on. */
  get until() {
    if (this.now.end !== null) return this.now.end;
    return ended(this.now.type) ? this.now.states.at(-1)?.at ?? this.begin : Infinity;
  }

  /** It has not started yet. */
  get waits() { return this.now.start === null && !ended(this.now.type); }
}

const WAIT_SHOWN = 60_000;

export class Run {
  #extent = null;

  constructor(id) {
    this.id = id;
    this.name = "";
    this.now = nothing();
    this.then = null;
    this.tasks = new Map();
    this.lanes = [];
    this.artifacts = [];
    this.emissions = [];
    this.cut = false;
    this.edges = 0;
  }

  /** Take in columns (projections/run_timeline.py): the whole of the run, or what changed. */
  take(data) {
    const { origin, names, tasks } = data;
    const at = (time) => (time === null ? null : (origin + time) / 1000);
    this.#extent = null;
    this.name = data.name;
    this.cut ||= data.cut;
    this.now = {
      type: kind(data.type, names[data.label]), label: names[data.label], start: at(data.start), end: at(data.end),
      states: data.state_at.map((time, i) => {
        const label = names[data.state_label[i]];
        return { at: at(time), type: kind(data.state_type[i], label), label };
      }),
    };
    const placed = [];
    let state = 0, upstream = 0;
    for (let i = 0; i < tasks.id.length; i++) {
      let task = this.tasks.get(tasks.id[i]);
      if (!task) {
        task = new Task(tasks.id[i], this);
        this.tasks.set(task.id, task);
      }
      task.name = tasks.name[i];
      task.sub = tasks.sub[i];
      task.due = at(tasks.due[i]);
      task.attempts = tasks.runs[i];
      const up = tasks.upstream.slice(upstream, (upstream += tasks.upstream_count[i]));
      if (up.length !== task.up.length) {
        this.edges += up.length - task.up.length;
        task.up = up;
        task.linked = false;
      }
      const states = new Array(tasks.state_count[i]);
      for (let n = 0; n < states.length; n++, state++) {
        states[n] = { at: at(tasks.state_at[state]), type: tasks.state_type[state], label: names[tasks.state_label[state]] };
      }
      task.now = { type: tasks.type[i], label: names[tasks.label[i]], start: at(tasks.start[i]), end: at(tasks.end[i]), states };
      placed.push(task);
    }
    placed.sort((one, other) => one.begin - other.begin);
    for (const task of placed) this.#place(task);
    for (const task of this.tasks.values()) if (!task.linked) this.#link(task);
  }

  #link(task) {
    task.linked = true;
    for (const id of task.up) {
      const before = this.tasks.get(id);
      if (!before) task.linked = false; // It may come yet.
      else if (!before.down.includes(task.id)) before.down.push(task.id);
    }
  }

  // A task run that has a lane stays in it, whatever happens to the others.
  #place(task) {
    if (task.waits) return;
    if (task.lane) {
      const next = task.lane[task.lane.indexOf(task) + 1];
      if (!next || next.begin >= task.until) return;
      task.lane.splice(task.lane.indexOf(task), 1);
    }
    for (const lane of this.lanes) {
      const place = after(lane, task.begin);
      if ((place > 0 && lane[place - 1].until > task.begin) || (place < lane.length && lane[place].begin < task.until)) continue;
      lane.splice(place, 0, task);
      task.lane = lane;
      return;
    }
    task.lane = [task];
    this.lanes.push(task.lane);
  }

  /** Task runs that have not started, in the order in which they were made known. */
  waiting() {
    return [...this.tasks.values()].filter((task) => !task.lane && task.waits).sort((one, other) => one.begin - other.begin);
  }

  /** The earliest and the latest moment of it; `now` for what goes on. */
  extent(now) {
    this.#extent ??= this.#measure();
    const { from, until, goesOn } = this.#extent;
    const start = Math.min(from, now), end = goesOn ? Math.max(until, now) : until;
    return [start, Math.max(end, start + 1)];
  }

  #measure() {
    const { states, start, end, type } = this.now;
    let from = states[0]?.at ?? Infinity, until = end ?? from, goesOn = !ended(type);
    // A run that waited for hours before it started is not shown waiting, and none for most of the picture.
    const waited = goesOn || end === null ? WAIT_SHOWN : Math.min(WAIT_SHOWN, (end - start) / 4);
    if (start !== null && type !== SCHEDULED) from = Math.max(from, start - waited);
    for (const task of this.tasks.values()) {
      from = Math.min(from, task.begin);
      if (task.until === Infinity) goesOn = true;
      else until = Math.max(until, task.until);
    }
    return { from, until, goesOn };
  }
}

/** Where in a lane something that begins at a moment would stand. */
export function after(lane, moment) {
  let low = 0, high = lane.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lane[middle].begin <= moment) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first of a lane that is not over at a moment. */
export function firstUntil(lane, moment) {
  let low = 0, high = lane.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lane[middle].until < moment) low = middle + 1;
    else high = middle;
  }
  return low;
}

const HEIGHTS = [22, 14, 7]; // With names, with small names, without: the first that fits.
export const STAGE_HEIGHT = 380;
const RUN_HEIGHT = 20, PAD = 4;

/** Rows from top to bottom: {y, h, depth, run, tasks} and for a flow run itself {own: true}. */
export function rows(run, runs, open) {
  const found = [];
  const add = (run, depth) => {
    found.push({ own: true, run, depth, tasks: [] });
    for (const lane of run.lanes) {
      found.push({ run, depth, tasks: lane });
      for (const task of lane) {
        if (task.sub && open.has(task.sub) && runs.has(task.sub)) add(runs.get(task.sub), depth + 1);
      }
    }
    for (const task of run.waiting()) found.push({ run, depth, tasks: [task], waits: true });
  };
  add(run, 0);
  const lanes = found.filter((row) => !row.own).length, owns = found.length - lanes;
  const room = STAGE_HEIGHT - owns * (RUN_HEIGHT + PAD);
  const height = HEIGHTS.find((height) => lanes * height <= room) ?? HEIGHTS.at(-1);
  let y = 0;
  for (const row of found) {
    row.y = y;
    row.h = row.own ? RUN_HEIGHT : height;
    y += row.h + (row.own ? PAD : 0);
  }
  found.height = y + PAD;
  return found;
}

/** Everything before and after a task run, by what was given to what. */
export function related(task) {
  const found = new Set([task]);
  for (const direction of ["up", "down"]) {
    const next = [task], seen = new Set(next);
    while (next.length) {
      for (const id of next.pop()[direction]) {
        const other = task.run.tasks.get(id);
        if (other && !seen.has(other)) { seen.add(other); found.add(other); next.push(other); }
      }
    }
  }
  return found;
}
