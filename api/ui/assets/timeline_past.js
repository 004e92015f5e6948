// A run as it was at a position of the log. What was recorded is fetched once; going from position to
// position is then a matter of this browser alone.

import { RUNNING, ended, kind } from "./timeline_model.js";

export class Past {
  /** `data` are columns (FactColumns in projections/run_timeline.py). */
  constructor(data) {
    const { origin, names, tasks } = data;
    this.positions = data.position;
    this.facts = data.position.map((position, i) => ({
      position,
      recorded: (origin + data.recorded[i]) / 1000,
      task: data.task[i] < 0 ? null : tasks[data.task[i]],
      state: { at: (origin + data.at[i]) / 1000, type: kind(data.type[i], names[data.label[i]]), label: names[data.label[i]] },
    }));
  }

  get length() { return this.facts.length; }

  /** How many facts are at a position or before it. */
  upTo(position) {
    let low = 0, high = this.positions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.positions[middle] <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Give a run and its task runs the `then` of the first `number` facts; the counts by type. */
  show(run, number) {
    const states = new Map(), own = [];
    for (let i = 0; i < number; i++) {
      const { task, state } = this.facts[i];
      if (task === null) own.push(state);
      else if (states.has(task)) states.get(task).push(state);
      else states.set(task, [state]);
    }
    run.then = own.length ? as(own) : null;
    const counts = new Map();
    for (const task of run.tasks.values()) {
      const known = states.get(task.id);
      task.then = known ? as(known) : null;
      if (known && !task.sub) counts.set(task.then.type, (counts.get(task.then.type) ?? 0) + 1);
    }
    return counts;
  }

  /** An unfolded subflow as it was at a moment: by the times of its states, for its facts are not known. */
  static showAt(run, moment) {
    const then = (what) => {
      const known = what.states.filter((state) => state.at <= moment);
      return known.length ? as(known) : null;
    };
    run.then = then(run.now);
    for (const task of run.tasks.values()) task.then = then(task.now);
  }

  static forget(run) {
    run.then = null;
    for (const task of run.tasks.values()) task.then = null;
  }
}

// Reports come in any order; the newest by its own time says what a task run is.
function as(states) {
  states.sort((one, other) => one.at - other.at);
  const last = states.at(-1);
  const started = states.find((state) => state.type === RUNNING) ?? (ended(last.type) ? last : null);
  return { type: last.type, label: last.label, states, start: started?.at ?? null, end: ended(last.type) ? last.at : null };
}
