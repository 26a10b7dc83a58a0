"""Logging to standard error: a line holds time, level, logger and text. Libraries log warnings and errors only."""

import logging


def set_up(level: str) -> None:
    """Configure the logging of this process."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z", force=True
    )
    for name in ("rq", "urllib3", "alembic", "requests_cache", "werkzeug"):
        logging.getLogger(name).setLevel(logging.WARNING)
