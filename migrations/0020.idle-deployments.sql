-- Those that a poll of their queue makes ready: mostly none, and a poll must not look at all others
-- to find that out.
CREATE INDEX IF NOT EXISTS deployments_idle ON deployments (work_queue_id, id, status)
  WHERE status <> 'READY';
