-- Background tasks that wait for a task worker. A row is there from when its task run is scheduled until
-- it is known to have begun: see `projections/task_queue.py`. Times are in microseconds.

CREATE TABLE IF NOT EXISTS task_queue (
  id TEXT NOT NULL PRIMARY KEY,
  task_key TEXT NOT NULL,
  flow_run_id TEXT,
  since BIGINT NOT NULL,
  free_at BIGINT NOT NULL,
  holder TEXT,
  handed_over BIGINT NOT NULL
);

-- The next one for a worker: few keys, oldest first.
CREATE INDEX IF NOT EXISTS task_queue_by_key ON task_queue (task_key, handed_over, since);

CREATE INDEX IF NOT EXISTS task_queue_by_flow_run ON task_queue (flow_run_id)
  WHERE flow_run_id IS NOT NULL;
