-- The log. Everything else in this schema can be dropped and folded again from these tables.
-- depends:

-- A process may die between the last statement and yoyo's mark: every statement may run again.
-- One row, updated once per batch by the transaction that holds its lock. The low fillfactor leaves
-- room for new versions of the row in its own page.
CREATE TABLE IF NOT EXISTS log_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    position BIGINT NOT NULL,      -- of the newest event
    recorded_at BIGINT NOT NULL,   -- of the newest event, microseconds since 1970
    hash BYTEA NOT NULL,           -- of the newest event, the end of the chain
    lines BIGINT NOT NULL,         -- how many run log lines were ever written
    epoch TEXT NOT NULL            -- identity of this log; a restored or emptied log gets a new one
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

INSERT INTO log_head (id, position, recorded_at, hash, lines, epoch)
VALUES (1, 0, 0, decode(repeat('00', 32), 'hex'), 0, replace(gen_random_uuid()::text, '-', ''))
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS events (
    position BIGINT PRIMARY KEY,
    stream TEXT NOT NULL,
    version BIGINT NOT NULL,
    type TEXT NOT NULL,
    type_version BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    correlation TEXT,
    causation BIGINT,
    data JSON NOT NULL,
    hash BYTEA NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS events_stream_version ON events (stream, version);

CREATE UNIQUE INDEX IF NOT EXISTS events_event_id ON events (event_id);

-- The version every stream is at: the token of optimistic concurrency.
CREATE TABLE IF NOT EXISTS streams (
    stream TEXT PRIMARY KEY,
    version BIGINT NOT NULL
) WITH (fillfactor = 80);

-- How far a named follower of the log has read, and which version of its code did.
CREATE TABLE IF NOT EXISTS checkpoints (
    name TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    position BIGINT NOT NULL
);
