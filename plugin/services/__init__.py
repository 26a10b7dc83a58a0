"""All parts of one process, made when they are first asked for: a command starts fast, and a worker holds nothing of the web."""

from plugin.services.core import is_available
from plugin.services.web import Services

__all__ = ["Services", "is_available"]
