-- Automations, and the resources that they belong to or act on.

CREATE TABLE IF NOT EXISTS automations (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  tags TEXT NOT NULL,
  owner_resource TEXT,
  document TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS automation_resources (
  resource_id TEXT NOT NULL,
  automation_id TEXT NOT NULL,
  owned BIGINT NOT NULL,
  PRIMARY KEY (resource_id, automation_id)
);
