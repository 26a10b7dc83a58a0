"""The composition root's parts: each object of a process is made at its first use (core, then worker, then web).

Rules of the product are not here, and nothing here knows Flask or commands.
"""

from plugin.services.core import is_available
from plugin.services.web import Services

__all__ = ["Services", "is_available"]
