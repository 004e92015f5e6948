DROP TABLE IF EXISTS result_storage;
