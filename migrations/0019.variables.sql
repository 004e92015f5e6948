-- Variables, and the searches that people saved.

CREATE TABLE IF NOT EXISTS variables (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  tags TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS variables_by_name ON variables (name);

CREATE TABLE IF NOT EXISTS saved_searches (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS saved_searches_by_name ON saved_searches (name);
