-- Where results are stored unless a flow says otherwise: one row, or none.

CREATE TABLE IF NOT EXISTS result_storage (
  id TEXT NOT NULL PRIMARY KEY,
  document TEXT NOT NULL
);
