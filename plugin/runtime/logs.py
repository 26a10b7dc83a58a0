"""One line a step to standard error: time, level, where, text. Other people's loggers stay quiet."""

import logging


def set_up(level: str) -> None:
    """Configure logging for one process."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z", force=True
    )
    for name in ("rq", "urllib3", "alembic", "requests_cache", "werkzeug"):
        logging.getLogger(name).setLevel(logging.WARNING)
