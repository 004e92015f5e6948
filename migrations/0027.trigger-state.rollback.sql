DROP TABLE IF EXISTS trigger_pending;
DROP TABLE IF EXISTS trigger_buckets;
DROP TABLE IF EXISTS trigger_automations;
DROP TABLE IF EXISTS trigger_progress;
