-- What the dashboard asks of many runs at once.
--
-- Totals of task runs that have ended: see `projections/task_run_totals.py`. `at` is the beginning of a
-- bucket of `width`, both in microseconds, by when a run started, or should have. As for flow runs, a
-- window is a range of the primary key, so the key is the table.

CREATE TABLE IF NOT EXISTS task_run_totals (
  width BIGINT NOT NULL,
  at BIGINT NOT NULL,
  state_type TEXT NOT NULL,
  runs BIGINT NOT NULL,
  PRIMARY KEY (width, at, state_type)
) WITHOUT ROWID;

-- The runs that went wrong, newest last, whose they are, and whether they are subflows: what fails since
-- when is answered from it alone, and the newest messages without reading the runs that went well. Costs
-- nothing for those. The last three columns let SQLite see that it needs no row. Queries repeat the
-- condition word for word; lists bind their states and so never take it (see `flow_runs_by_state`).
CREATE INDEX IF NOT EXISTS flow_runs_failed ON flow_runs
  (COALESCE(start_time, expected_start_time), flow_id, parent_task_run_id, state_type, start_time,
   expected_start_time)
  WHERE state_type IN ('CRASHED', 'FAILED');
