-- Leases that nobody can renew, of task runs; they end with their flow run at the latest.
CREATE INDEX IF NOT EXISTS concurrency_leases_for_ever ON concurrency_leases (holder_id)
  WHERE until IS NULL;
