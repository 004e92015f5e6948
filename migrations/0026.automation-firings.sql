-- Firings of automations whose actions are still to be done.

CREATE TABLE IF NOT EXISTS automation_firings (
  id TEXT NOT NULL PRIMARY KEY,
  automation_id TEXT NOT NULL,
  position BIGINT NOT NULL,
  document TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS automation_firings_in_order ON automation_firings (automation_id, position);
