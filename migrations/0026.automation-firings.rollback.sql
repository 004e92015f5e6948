DROP TABLE IF EXISTS automation_firings;
