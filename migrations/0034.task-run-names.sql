-- Task runs are looked for by a part of their name, newest first, inside the index that gives the order:
-- with the name and the id in it no row, and none of the documents, is touched.
DROP INDEX IF EXISTS task_runs_by_expected_start;

CREATE INDEX IF NOT EXISTS task_runs_by_expected_start ON task_runs
  (expected_start_time, state_type, state_name, start_time, state_timestamp, total_run_time, name, id);
