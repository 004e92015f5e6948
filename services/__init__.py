"""Whoever issues commands: the shell around the deciders, and the loops that watch the log."""
