DROP INDEX IF EXISTS deployments_scheduled;

ALTER TABLE deployments DROP COLUMN scheduled;
ALTER TABLE deployments DROP COLUMN status;
