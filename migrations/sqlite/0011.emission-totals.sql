-- Totals of the feed of emissions: see `projections/emission_totals.py`. `at` is the beginning of a bucket
-- of `width`, both in microseconds, by when an emission occurred. A window is a range of the primary
-- key, so the key is the table. The feed's read model has a new version with it, so it is folded anew.

CREATE TABLE IF NOT EXISTS emission_totals (
  width BIGINT NOT NULL,
  at BIGINT NOT NULL,
  event TEXT NOT NULL,
  number BIGINT NOT NULL,
  PRIMARY KEY (width, at, event)
) WITHOUT ROWID;
