DROP INDEX IF EXISTS flow_runs_failed;

DROP TABLE IF EXISTS task_run_totals;
