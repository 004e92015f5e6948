-- What runs were given while they ran, and the schemas that they ask with. One row per input; it goes
-- with its run. The document holds the value, so it comes last.

CREATE TABLE IF NOT EXISTS flow_run_inputs (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  flow_run_id TEXT NOT NULL,
  key TEXT NOT NULL,
  document TEXT NOT NULL
);

-- The inputs of a run in the order in which they came, and the cascade when the run is deleted. Keys
-- are in it so that a run that polls for the next one sorts out those that it has seen from here.
CREATE INDEX IF NOT EXISTS flow_run_inputs_by_run ON flow_run_inputs (flow_run_id, created, key);
