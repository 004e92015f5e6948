-- What runs print. Neither an event nor a read model: it cannot be folded again, so nothing that
-- rebuilds or resets read models may touch it.
--
-- Lines have no id column: the id that the API shows follows from when a line came and its number
-- (projections/log_lines.py). Nobody asks for a line by its id, and 36 characters per line cost a
-- third of the time of writing it and an eighth of its space.

CREATE TABLE IF NOT EXISTS log_lines (
  line INTEGER NOT NULL PRIMARY KEY,  -- Spelled like this it is the row id, and in every index.
  created BIGINT NOT NULL,
  timestamp BIGINT NOT NULL,
  level BIGINT NOT NULL,
  name TEXT NOT NULL,
  message TEXT NOT NULL,
  flow_run_id TEXT,
  task_run_id TEXT
);

-- The two questions ever asked of logs, in the order they are read. Ties are broken by `line`,
-- the order of arrival. Lines without a run are found by scanning, which nobody does.
CREATE INDEX IF NOT EXISTS log_lines_by_flow_run ON log_lines (flow_run_id, timestamp)
  WHERE flow_run_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS log_lines_by_task_run ON log_lines (task_run_id, timestamp)
  WHERE task_run_id IS NOT NULL;
