DROP TABLE IF EXISTS deployment_limits;
