DELETE FROM flow_run_totals WHERE scope = '' AND axis IN (0, 1) AND width = 86400000000;

DELETE FROM checkpoints WHERE name LIKE 'rebuild:%';
