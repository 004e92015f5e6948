-- How far the triggers of automations have got, and what they have seen; see `services/triggers.py`.
-- Neither events nor a read model: nothing that rebuilds or resets read models touches it.

CREATE TABLE IF NOT EXISTS trigger_progress (
  name TEXT NOT NULL PRIMARY KEY,
  epoch TEXT NOT NULL,
  position BIGINT NOT NULL,
  listened BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS trigger_automations (
  id TEXT NOT NULL PRIMARY KEY,
  document TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS trigger_buckets (
  id TEXT NOT NULL PRIMARY KEY,
  automation_id TEXT NOT NULL,
  trigger_id TEXT NOT NULL,
  labels TEXT NOT NULL,
  starts BIGINT NOT NULL,
  ends BIGINT NOT NULL,
  seen BIGINT NOT NULL,
  last_position BIGINT,
  proactive BIGINT NOT NULL,
  due BIGINT NOT NULL
);

CREATE INDEX IF NOT EXISTS trigger_buckets_due ON trigger_buckets (due);
CREATE INDEX IF NOT EXISTS trigger_buckets_of ON trigger_buckets (automation_id);

CREATE TABLE IF NOT EXISTS trigger_pending (
  trigger_id TEXT NOT NULL PRIMARY KEY,
  automation_id TEXT NOT NULL,
  firings TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS trigger_pending_of ON trigger_pending (automation_id);
