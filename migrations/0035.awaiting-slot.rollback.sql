DROP INDEX IF EXISTS flow_runs_awaiting_slot;
