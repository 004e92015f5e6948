// Packs random task runs into lanes, all at once and as they would come live; see test_timeline.py.
async (address) => {
  const { Run } = await import(new URL(address.replace("timeline.js", "timeline_model.js"), location.href));
  let seed = 7;
  const chance = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const tasks = Array.from({length: 500}, (_, i) => {
    const start = Math.floor(chance() * 1e6);
    return {id: `t${i}`, start, end: start + 1 + Math.floor(chance() * 4e4)};
  });
  const columns = (some) => {
    const of = (make) => some.map(make);
    return {
      id: "r", name: "r", origin: 0, names: ["x"], start: 0, end: null, type: 2, label: 0, cut: false,
      state_type: [2], state_label: [0], state_at: [0],
      tasks: {
        id: of((t) => t.id), name: of((t) => t.id), type: of((t) => (t.end === null ? 2 : 3)), label: of(() => 0),
        start: of((t) => t.start), end: of((t) => t.end), due: of(() => null), sub: of(() => null), runs: of(() => 1),
        upstream_count: of(() => 0), upstream: [], state_count: of(() => 0), state_type: [], state_label: [], state_at: [],
      },
    };
  };
  const clashes = (run) => run.lanes.flatMap((lane) => lane.slice(1).filter((task, i) => task.begin < lane[i].until)).length;
  const whole = new Run("r");
  whole.take(columns(tasks));
  let most = 0;
  for (const one of tasks) most = Math.max(most, tasks.filter((t) => t.start <= one.start && t.end > one.start).length);

  // As it comes live: each begins, some end before others begin; nobody changes lanes.
  const live = new Run("r");
  const events = tasks.flatMap((t) => [[t.start, {...t, end: null}], [t.end, t]]).sort((a, b) => a[0] - b[0]);
  const first = new Map();
  let moved = 0;
  for (const [, task] of events) {
    live.take(columns([task]));
    const lane = live.tasks.get(task.id).lane;
    if (first.has(task.id) && first.get(task.id) !== lane) moved++;
    first.set(task.id, lane);
  }
  return {lanes: whole.lanes.length, most, clashes: clashes(whole) + clashes(live), moved, live: live.lanes.length};
}
