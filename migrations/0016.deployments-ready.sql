-- Those that are ready, for the foreman: who asks for their runs is with the pulses. It holds what the
-- foreman reads, for documents are large.
CREATE INDEX IF NOT EXISTS deployments_ready ON deployments (id, work_queue_id, updated)
  WHERE status = 'READY';
