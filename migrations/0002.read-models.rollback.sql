DROP TABLE IF EXISTS work_queues;
DROP TABLE IF EXISTS work_pools;
DROP TABLE IF EXISTS deployments;
DROP TABLE IF EXISTS artifact_collections;
DROP TABLE IF EXISTS artifacts;
DROP TABLE IF EXISTS task_run_states;
DROP TABLE IF EXISTS task_runs;
DROP TABLE IF EXISTS flow_run_states;
DROP TABLE IF EXISTS flow_runs;
DROP TABLE IF EXISTS flows;

DROP TABLE IF EXISTS cached_states;
