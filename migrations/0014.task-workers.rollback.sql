DROP TABLE IF EXISTS task_workers;
