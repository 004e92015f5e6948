"""The workflow domain: what may happen to flows, runs and artifacts, and what follows. Pure."""
