-- Workers, and what they are handed runs by. The tables of pools and queues are there since 0002.

CREATE TABLE IF NOT EXISTS workers (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  work_pool_id TEXT NOT NULL,
  status TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS workers_by_pool ON workers (work_pool_id, name);

-- Who holds a slot of a queue. Queries repeat the condition word for word.
CREATE INDEX IF NOT EXISTS flow_runs_holding_slots ON flow_runs (work_queue_id, state_type)
  WHERE state_type IN ('CANCELLING', 'PENDING', 'RUNNING') AND work_queue_id IS NOT NULL;

-- Whose runs wait in a queue: the next ones of each deployment, so that none starves another.
CREATE INDEX IF NOT EXISTS flow_runs_scheduled_by_queue_and_deployment ON flow_runs
  (work_queue_id, COALESCE(deployment_id, flow_id), next_scheduled_start_time)
  WHERE state_type = 'SCHEDULED' AND work_queue_id IS NOT NULL;
