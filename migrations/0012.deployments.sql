-- The state that a deployment's list shows and filters by, and what its schedules are looked up by.
-- Nothing has been written to this table yet: it was there before the entity, so that runs could be
-- filtered by it.

DROP TABLE IF EXISTS deployments;
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
  status TEXT NOT NULL,
  scheduled BIGINT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS deployments_by_flow ON deployments (flow_id, name);

CREATE INDEX IF NOT EXISTS deployments_by_work_queue ON deployments (work_queue_id)
  WHERE work_queue_id IS NOT NULL;

-- Those that runs are to be made for: the scheduler reads them when its term begins.
CREATE INDEX IF NOT EXISTS deployments_scheduled ON deployments (id) WHERE scheduled = 1;
