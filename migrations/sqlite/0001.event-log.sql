-- The log. Everything else in this database can be dropped and folded again from these tables.
-- depends:

-- A process may die between the last statement and yoyo's mark: every statement may run again.
CREATE TABLE IF NOT EXISTS log_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,      -- of the newest event
    recorded_at INTEGER NOT NULL,   -- of the newest event, microseconds since 1970
    hash BLOB NOT NULL,             -- of the newest event, the end of the chain
    lines INTEGER NOT NULL,         -- how many run log lines were ever written
    epoch TEXT NOT NULL             -- identity of this log; a restored or emptied log gets a new one
);

INSERT INTO log_head (id, position, recorded_at, hash, lines, epoch)
VALUES (1, 0, 0, zeroblob(32), 0, lower(hex(randomblob(16))))
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    type TEXT NOT NULL,
    type_version INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    correlation TEXT,
    causation INTEGER,
    data TEXT NOT NULL,
    hash BLOB NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS events_stream_version ON events (stream, version);

CREATE UNIQUE INDEX IF NOT EXISTS events_event_id ON events (event_id);

-- The version every stream is at: the token of optimistic concurrency.
CREATE TABLE IF NOT EXISTS streams (
    stream TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;

-- How far a named follower of the log has read, and which version of its code did.
CREATE TABLE IF NOT EXISTS checkpoints (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL
) WITHOUT ROWID;
