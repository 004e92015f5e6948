DROP TABLE IF EXISTS saved_searches;
DROP TABLE IF EXISTS variables;
