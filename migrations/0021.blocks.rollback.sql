DROP TABLE IF EXISTS block_documents;
DROP TABLE IF EXISTS block_schemas;
DROP TABLE IF EXISTS block_types;
