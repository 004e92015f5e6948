DROP TABLE IF EXISTS concurrency_slots;
DROP TABLE IF EXISTS concurrency_leases;
DROP TABLE IF EXISTS concurrency_limits;
