DROP TABLE IF EXISTS workers;
DROP INDEX IF EXISTS flow_runs_holding_slots;
DROP INDEX IF EXISTS flow_runs_scheduled_by_queue_and_deployment;
