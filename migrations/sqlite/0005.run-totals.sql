-- Totals of flow runs that have ended: see `projections/run_totals.py`. `scope` is the id of a flow or
-- of a deployment, or '' for all runs; `axis` says which time `at` is (0 expected, 1 started), the
-- beginning of a bucket of `width`, all in microseconds. A run without a state has '' for its type.
--
-- A window of buckets is a range of the primary key, so here the key is the table: `WITHOUT ROWID`.

CREATE TABLE IF NOT EXISTS flow_run_totals (
  scope TEXT NOT NULL,
  axis BIGINT NOT NULL,
  width BIGINT NOT NULL,
  at BIGINT NOT NULL,
  state_type TEXT NOT NULL,
  state_name TEXT NOT NULL,
  subflow BIGINT NOT NULL,
  started BIGINT NOT NULL,
  runs BIGINT NOT NULL,
  run_time BIGINT NOT NULL,
  lateness BIGINT NOT NULL,
  PRIMARY KEY (scope, axis, width, at, state_type, state_name, subflow, started)
) WITHOUT ROWID;
