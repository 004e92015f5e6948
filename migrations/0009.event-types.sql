-- The newest version of every type of event that was ever recorded. Whoever records the first one notes
-- it here and raises the generation of the head; an older release, which could not read it, so learns of
-- it before its own next append. See `eventstore/releases.py`.

CREATE TABLE IF NOT EXISTS event_types (
  type TEXT NOT NULL PRIMARY KEY,
  version BIGINT NOT NULL
);

INSERT INTO event_types (type, version)
SELECT type, MAX(type_version) FROM events GROUP BY type;
