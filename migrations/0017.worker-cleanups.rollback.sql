DROP TABLE IF EXISTS worker_cleanups;
