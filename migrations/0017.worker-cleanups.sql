-- What workers are to take away. A row is there until it is done or given up: see
-- `projections/worker_cleanups.py`. Times are in microseconds.

CREATE TABLE IF NOT EXISTS worker_cleanups (
  id TEXT NOT NULL PRIMARY KEY,
  work_pool_id TEXT NOT NULL,
  work_queue_id TEXT,
  kind TEXT NOT NULL,
  since BIGINT NOT NULL,
  free_at BIGINT NOT NULL,
  deliveries BIGINT NOT NULL,
  consumer_id TEXT,
  token_digest TEXT,
  target TEXT NOT NULL
);

-- The next one for a worker of a pool.
CREATE INDEX IF NOT EXISTS worker_cleanups_by_pool ON worker_cleanups (work_pool_id, free_at);
