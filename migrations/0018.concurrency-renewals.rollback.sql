DROP TABLE IF EXISTS concurrency_renewals;
