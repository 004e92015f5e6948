DROP INDEX IF EXISTS concurrency_leases_for_ever;
