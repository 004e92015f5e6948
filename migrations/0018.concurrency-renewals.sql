-- Leases that were renewed, until when; see `services/slots.py`. Neither events nor a read model:
-- nothing that rebuilds or resets read models touches it. No time: the lease does not expire.
CREATE TABLE IF NOT EXISTS concurrency_renewals (
  lease_id TEXT NOT NULL PRIMARY KEY,
  until BIGINT
);
