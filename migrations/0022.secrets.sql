-- What is secret in block documents, encrypted: neither events nor a read model, but beside the log
-- (see projections/secrets.py). Events name a secret by its id. What is deleted here is gone: a
-- payload cannot be read without its key, nor the key without the master key, which is no part of
-- the database. Nothing that rebuilds or resets read models touches these tables.

CREATE TABLE IF NOT EXISTS secret_keys (
  id TEXT NOT NULL PRIMARY KEY,
  master TEXT NOT NULL,
  wrapped TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS secret_keys_by_master ON secret_keys (master);

CREATE TABLE IF NOT EXISTS secret_payloads (
  id TEXT NOT NULL PRIMARY KEY,
  payload TEXT NOT NULL
);
