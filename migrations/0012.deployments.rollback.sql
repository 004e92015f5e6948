DROP INDEX IF EXISTS deployments_scheduled;
