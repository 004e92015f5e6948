-- Runs that wait for a slot of their deployment's limit: mostly none or few. Whoever lets go of a slot
-- looks for them, and must not look through all runs that the deployments ever had.
CREATE INDEX IF NOT EXISTS flow_runs_awaiting_slot ON flow_runs (deployment_id, expected_start_time)
  WHERE state_type = 'SCHEDULED' AND state_name = 'AwaitingConcurrencySlot';
