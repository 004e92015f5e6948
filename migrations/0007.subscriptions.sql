-- Named subscriptions: see `eventstore/named.py`. Like checkpoints neither events nor a read model:
-- how far somebody outside has read cannot be folded from the log, so nothing that rebuilds or resets
-- read models may touch it.

CREATE TABLE IF NOT EXISTS subscriptions (
  name TEXT NOT NULL PRIMARY KEY,
  selection TEXT NOT NULL,
  epoch TEXT NOT NULL,
  position BIGINT NOT NULL,
  term BIGINT NOT NULL,
  redeliver_seconds DOUBLE PRECISION NOT NULL,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL
);
