-- The state that a deployment's list shows and filters by, and what its schedules are looked up by.

ALTER TABLE deployments ADD COLUMN status TEXT NOT NULL DEFAULT 'NOT_READY';
ALTER TABLE deployments ADD COLUMN scheduled BIGINT NOT NULL DEFAULT 0;

-- Those that runs are to be made for: the scheduler reads them when its term begins.
CREATE INDEX IF NOT EXISTS deployments_scheduled ON deployments (id) WHERE scheduled = 1;
