-- Concurrency limits and who holds their slots. Times are in microseconds.

CREATE TABLE IF NOT EXISTS concurrency_limits (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS concurrency_limits_by_name ON concurrency_limits (name);

CREATE TABLE IF NOT EXISTS concurrency_leases (
  id TEXT NOT NULL PRIMARY KEY,
  holder_id TEXT,
  until BIGINT,
  document TEXT NOT NULL
);

-- What a run lets go when it ends.
CREATE INDEX IF NOT EXISTS concurrency_leases_by_holder ON concurrency_leases (holder_id)
  WHERE holder_id IS NOT NULL;

-- The slots of a limit that are held, one row per lease: there is no other count of them.
CREATE TABLE IF NOT EXISTS concurrency_slots (
  limit_id TEXT NOT NULL,
  lease_id TEXT NOT NULL,
  slots BIGINT NOT NULL,
  PRIMARY KEY (limit_id, lease_id)
);
