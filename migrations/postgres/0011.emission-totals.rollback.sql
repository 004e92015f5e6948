DROP TABLE IF EXISTS emission_totals;
