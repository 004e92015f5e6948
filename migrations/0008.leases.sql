-- Leases: see `eventstore/leases.py`. Neither events nor a read model: who does what right now, and in
-- which term. Terms only grow, for as long as the database lives; nothing that rebuilds or resets
-- anything may touch them, or who was superseded could write again.

CREATE TABLE IF NOT EXISTS leases (
  name TEXT NOT NULL PRIMARY KEY,
  term BIGINT NOT NULL,
  host TEXT NOT NULL,
  pid BIGINT NOT NULL,
  acquired BIGINT NOT NULL,
  expires BIGINT NOT NULL,
  lag_seconds DOUBLE PRECISION NOT NULL,
  error TEXT,
  error_at BIGINT
);
