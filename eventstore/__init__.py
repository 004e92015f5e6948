"""An event store: an ordered log of facts in SQLite or Postgres. Knows nothing of workflows."""
