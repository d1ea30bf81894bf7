"""hasty: a durable job service for work keyed by a thing."""

from hasty.errors import HastyError
from hasty.handlers import JobContext, handler

__version__ = "0.1.0"

__all__ = ["HastyError", "JobContext", "__version__", "handler"]
