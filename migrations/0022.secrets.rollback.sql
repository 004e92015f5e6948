-- The tables stay, and with them what cannot be made again; an older release does not look at them.
DROP INDEX IF EXISTS secret_keys_by_master;
