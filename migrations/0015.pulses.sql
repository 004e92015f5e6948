-- Pulses: when something was last heard of, see `services/pulses.py`. Neither events nor a read
-- model: a cell that is written over. Nothing that rebuilds or resets read models touches them.
CREATE TABLE IF NOT EXISTS pulses (
  subject TEXT NOT NULL PRIMARY KEY,
  at BIGINT NOT NULL,
  interval_seconds BIGINT
);
