DROP TABLE IF EXISTS automation_resources;
DROP TABLE IF EXISTS automations;
