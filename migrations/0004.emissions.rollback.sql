DROP TABLE IF EXISTS emission_resources;
DROP TABLE IF EXISTS emissions;
