"""Events in, rows out, and the queries over those rows."""
