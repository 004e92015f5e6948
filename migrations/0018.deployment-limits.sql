-- Which limit is on the runs of a deployment, and what becomes of runs above it.

CREATE TABLE IF NOT EXISTS deployment_limits (
  deployment_id TEXT NOT NULL PRIMARY KEY,
  limit_id TEXT,
  options TEXT
);

CREATE INDEX IF NOT EXISTS deployment_limits_by_limit ON deployment_limits (limit_id);
