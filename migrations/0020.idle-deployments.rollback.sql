DROP INDEX IF EXISTS deployments_idle;
