DROP INDEX IF EXISTS task_runs_by_expected_start;

CREATE INDEX IF NOT EXISTS task_runs_by_expected_start ON task_runs
  (expected_start_time, state_type, state_name, start_time, state_timestamp, total_run_time);
