DROP TABLE IF EXISTS block_references;
