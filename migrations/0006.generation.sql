-- How often read models were folded anew and took the place of the old ones. Whoever appends reads it
-- with the head, and so learns under the lock that rows it remembers are no longer those of the tables.

ALTER TABLE log_head ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
