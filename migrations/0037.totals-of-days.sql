-- Totals of all runs by days, from those by hours: sums of sums. What is counted over a month or more, or
-- ever, is a thirtieth of the rows. Hours are few, some ten thousand a year, so this takes a moment.

DELETE FROM flow_run_totals WHERE scope = '' AND axis IN (0, 1) AND width = 86400000000;

INSERT INTO flow_run_totals (
  scope, axis, width, at, state_type, state_name, subflow, started, runs, run_time, lateness
)
SELECT '', axis, 86400000000, day * 86400000000, state_type, state_name, subflow, started,
  sum(runs), sum(run_time), sum(lateness)
FROM (
  SELECT axis, state_type, state_name, subflow, started, runs, run_time, lateness,
    -- A division rounds towards zero, on either side of 1970.
    (CASE WHEN at < 0 THEN at - 86399999999 ELSE at END) / 86400000000 AS day
  FROM flow_run_totals
  WHERE scope = '' AND axis IN (0, 1) AND width = 3600000000
) AS hours
GROUP BY axis, day, state_type, state_name, subflow, started;

-- A rebuild that an older release has begun folds no days: it starts over.
DELETE FROM checkpoints WHERE name LIKE 'rebuild:%';
