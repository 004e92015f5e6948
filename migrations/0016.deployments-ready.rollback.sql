DROP INDEX IF EXISTS deployments_ready;
