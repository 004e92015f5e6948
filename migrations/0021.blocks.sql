-- Blocks: their types, the schemas of these, and the documents that are saved under names.

CREATE TABLE IF NOT EXISTS block_types (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  slug TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS block_types_by_slug ON block_types (slug);

CREATE TABLE IF NOT EXISTS block_schemas (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  checksum TEXT NOT NULL,
  version TEXT NOT NULL,
  block_type_id TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS block_schemas_by_checksum ON block_schemas (checksum, version);
CREATE INDEX IF NOT EXISTS block_schemas_by_type ON block_schemas (block_type_id, created);
CREATE INDEX IF NOT EXISTS block_schemas_by_created ON block_schemas (created);

CREATE TABLE IF NOT EXISTS block_documents (
  id TEXT NOT NULL PRIMARY KEY,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  name TEXT NOT NULL,
  is_anonymous BIGINT NOT NULL,
  block_type_id TEXT NOT NULL,
  block_type_name TEXT NOT NULL,
  block_schema_id TEXT NOT NULL,
  document TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS block_documents_by_name ON block_documents (block_type_id, name);
CREATE INDEX IF NOT EXISTS block_documents_in_order ON block_documents (name, id);
CREATE INDEX IF NOT EXISTS block_documents_by_schema ON block_documents (block_schema_id);
