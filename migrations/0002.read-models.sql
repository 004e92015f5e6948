-- The core read models, one row per entity: the columns that filters and sorts name, and `document`,
-- the entity as the API returns it. `document` comes last, so that reading a column in front of it
-- does not walk through a large value.
--
-- Every index is paid for on every state change of a run (Postgres: no HOT update once an indexed
-- column changes, SQLite: an upsert rewrites all entries), so each one says what it is for. Times
-- and time-ordered ids make their indexes grow at the right edge, which is cheap: 5 to 10 µs each of
-- the 55 µs that one write of a flow run takes on SQLite. An index on run names, dirtying a random
-- page per write, takes 13 µs, serves no `like_`, and is left out. Tie-breaks by id are not part of
-- the indexes either: both engines sort the few rows of equal time on the fly.
--
-- Postgres refuses an index entry above 2704 bytes, and a refused row would take its whole batch
-- along. So names, keys and state names have to be bounded before they become events.
--
-- There are no foreign keys: rows are folded from the log, which is what has to be right.

CREATE TABLE IF NOT EXISTS flows (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  tags TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS flows_by_name ON flows (name);

CREATE TABLE IF NOT EXISTS flow_runs (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  flow_id TEXT NOT NULL,
  deployment_id TEXT,
  work_pool_id TEXT,
  work_queue_id TEXT,
  work_queue_name TEXT,
  parent_task_run_id TEXT,
  idempotency_key TEXT,
  flow_version TEXT,
  deployment_version TEXT,
  infrastructure_pid TEXT,
  state_id TEXT,
  state_type TEXT,
  state_name TEXT,
  state_timestamp BIGINT,
  start_time BIGINT,
  end_time BIGINT,
  expected_start_time BIGINT,
  next_scheduled_start_time BIGINT,
  run_count BIGINT NOT NULL,
  total_run_time DOUBLE PRECISION NOT NULL,
  auto_scheduled BIGINT NOT NULL,
  tags TEXT NOT NULL,
  created_by_id TEXT,
  created_by_type TEXT,
  document TEXT NOT NULL
);

-- Lists in the default order of the CLI, and history: all that a bucket sums is in the index, so a
-- dashboard's window is read without touching a row. Lateness over all runs is answered from it too.
CREATE INDEX IF NOT EXISTS flow_runs_by_expected_start ON flow_runs
  (expected_start_time, state_type, state_name, start_time, state_timestamp, total_run_time);

-- `start_time` filters and sorts mean "started, or expected to"; they are what a browser asks for.
-- The columns after the expression let both engines filter by state, by a part of the name and by
-- "no subflows", and count, inside the index: ten times faster than over rows with documents.
CREATE INDEX IF NOT EXISTS flow_runs_by_start ON flow_runs
  (COALESCE(start_time, expected_start_time), state_type, state_name, start_time,
   expected_start_time, parent_task_run_id, name);

-- A flow's runs in either order of time, and the cascade when it is deleted. Both, because a flow
-- may own most of the table, and sorting its runs would read all of them.
CREATE INDEX IF NOT EXISTS flow_runs_by_flow_and_expected_start ON flow_runs
  (flow_id, expected_start_time);

CREATE INDEX IF NOT EXISTS flow_runs_by_flow_and_start ON flow_runs
  (flow_id, COALESCE(start_time, expected_start_time));

-- Sort END_TIME_DESC, filters on the end, retention.
CREATE INDEX IF NOT EXISTS flow_runs_by_end ON flow_runs (end_time);

-- The few runs that are Running, Pending, Cancelling among a million that are not. Terminal states
-- are left out on purpose: SQLite, which does not know how many they are, would take this index for
-- them too and then sort nearly the whole table. Filters repeat this condition word for word.
CREATE INDEX IF NOT EXISTS flow_runs_by_state ON flow_runs (state_type, expected_start_time)
  WHERE state_type IN ('CANCELLING', 'PAUSED', 'PENDING', 'RUNNING', 'SCHEDULED');

-- The partial ones below cost nothing for a run that a script started: no deployment, no parent,
-- no key.
CREATE INDEX IF NOT EXISTS flow_runs_by_deployment_and_expected_start ON flow_runs
  (deployment_id, expected_start_time) WHERE deployment_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS flow_runs_by_deployment_and_start ON flow_runs
  (deployment_id, COALESCE(start_time, expected_start_time)) WHERE deployment_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS flow_runs_by_parent ON flow_runs (parent_task_run_id)
  WHERE parent_task_run_id IS NOT NULL;

-- Key first: it is looked up together with the flow, and filtered by alone.
CREATE UNIQUE INDEX IF NOT EXISTS flow_runs_by_idempotency_key ON flow_runs (idempotency_key, flow_id)
  WHERE idempotency_key IS NOT NULL;

-- Workers polling their queues, and the search for late runs. A run leaves both when it starts.
CREATE INDEX IF NOT EXISTS flow_runs_scheduled_by_queue ON flow_runs (work_queue_id, next_scheduled_start_time)
  WHERE state_type = 'SCHEDULED';

CREATE INDEX IF NOT EXISTS flow_runs_scheduled ON flow_runs (next_scheduled_start_time)
  WHERE state_type = 'SCHEDULED';

CREATE TABLE IF NOT EXISTS flow_run_states (
  id TEXT NOT NULL PRIMARY KEY,
  flow_run_id TEXT NOT NULL,
  timestamp BIGINT NOT NULL,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS flow_run_states_by_run ON flow_run_states (flow_run_id, timestamp);

CREATE TABLE IF NOT EXISTS task_runs (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  flow_run_id TEXT,
  task_key TEXT NOT NULL,
  dynamic_key TEXT NOT NULL,
  cache_key TEXT,
  cache_expiration BIGINT,
  state_id TEXT,
  state_type TEXT,
  state_name TEXT,
  state_timestamp BIGINT,
  start_time BIGINT,
  end_time BIGINT,
  expected_start_time BIGINT,
  next_scheduled_start_time BIGINT,
  run_count BIGINT NOT NULL,
  total_run_time DOUBLE PRECISION NOT NULL,
  subflow_run_id TEXT,
  tags TEXT NOT NULL,
  document TEXT NOT NULL
);

-- Task runs are the most written rows, so there is less here than for flow runs. States are filtered
-- inside the indexes that hold them.

-- The task runs of a flow run (a graph, a page, a cascade), how many are in which state, and the one
-- with a given natural key. Not unique: two clients may report the same key under different ids, and
-- nothing that was reported is lost.
CREATE INDEX IF NOT EXISTS task_runs_by_flow_run ON task_runs
  (flow_run_id, task_key, dynamic_key, state_type);

-- As for flow runs: lists, and history from the index alone.
CREATE INDEX IF NOT EXISTS task_runs_by_expected_start ON task_runs
  (expected_start_time, state_type, state_name, start_time, state_timestamp, total_run_time);

-- The dashboard's completed and failed counts over a window of start times.
CREATE INDEX IF NOT EXISTS task_runs_by_start ON task_runs (start_time, state_type);

-- Sort END_TIME_DESC.
CREATE INDEX IF NOT EXISTS task_runs_by_end ON task_runs (end_time);

CREATE TABLE IF NOT EXISTS task_run_states (
  id TEXT NOT NULL PRIMARY KEY,
  task_run_id TEXT NOT NULL,
  timestamp BIGINT NOT NULL,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS task_run_states_by_run ON task_run_states (task_run_id, timestamp);

-- States that can be found again under their cache key; the newest that has not expired counts.
CREATE TABLE IF NOT EXISTS cached_states (
  id TEXT NOT NULL PRIMARY KEY,
  cache_key TEXT NOT NULL,
  cache_expiration BIGINT,
  recorded BIGINT NOT NULL,
  document TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS cached_states_by_key ON cached_states (cache_key, recorded);

CREATE TABLE IF NOT EXISTS artifacts (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  key TEXT,
  type TEXT,
  flow_run_id TEXT,
  task_run_id TEXT,
  document TEXT NOT NULL
);

-- Versions under one key, newest last: lists by key, and the next latest when the latest is deleted.
CREATE INDEX IF NOT EXISTS artifacts_by_key ON artifacts (key, created);

CREATE INDEX IF NOT EXISTS artifacts_by_flow_run ON artifacts (flow_run_id) WHERE flow_run_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS artifacts_by_task_run ON artifacts (task_run_id) WHERE task_run_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS artifact_collections (
  key TEXT NOT NULL PRIMARY KEY,
  id TEXT NOT NULL,
  latest_id TEXT NOT NULL,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  type TEXT,
  flow_run_id TEXT,
  task_run_id TEXT,
  document TEXT NOT NULL
);

-- The tables below belong to entities that are still to come. Runs can be filtered by them already.

CREATE TABLE IF NOT EXISTS deployments (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  flow_id TEXT NOT NULL,
  work_queue_id TEXT,
  work_queue_name TEXT,
  paused BIGINT NOT NULL,
  concurrency_limit BIGINT,
  tags TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS deployments_by_flow ON deployments (flow_id, name);

CREATE INDEX IF NOT EXISTS deployments_by_work_queue ON deployments (work_queue_id)
  WHERE work_queue_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS work_pools (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS work_pools_by_name ON work_pools (name);

CREATE TABLE IF NOT EXISTS work_queues (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  work_pool_id TEXT,
  priority BIGINT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS work_queues_by_pool ON work_queues (work_pool_id, name);
