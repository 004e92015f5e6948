-- Task workers that are connected, to whichever server process: a pulse each, not folded from the log.

CREATE TABLE IF NOT EXISTS task_workers (
  identifier TEXT NOT NULL PRIMARY KEY,
  task_keys TEXT NOT NULL,
  seen BIGINT NOT NULL,
  connected BIGINT NOT NULL
);
