"""The server's own log lines: to stderr, as severe as the settings say."""

import logging

FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
DATE_FORMAT = "%Y-%m-%d %H:%M:%S%z"
OWN = ("api", "eventstore", "orchestration", "pluperfect", "projections", "services")
"""Loggers of this product; libraries are heard from WARNING on."""


def set_up(level: str) -> None:
    """Write log lines to stderr. `level` is a name: DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT, DATE_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for name in OWN:
        logging.getLogger(name).setLevel(level)
