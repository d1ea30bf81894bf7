"""hasty: a durable job service for work keyed by a thing.

Each name is imported when it is first asked for: who writes handlers needs no client, and who has
only the client installed needs no server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hasty.errors import HastyError

if TYPE_CHECKING:
    from hasty.client import AsyncClient, Client, JobRequest
    from hasty.handlers import JobContext, handler

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "HastyError", "JobContext", "JobRequest", "__version__", "handler"]

_NAMES_OF = {
    "client": ("AsyncClient", "Client", "JobRequest"),
    "handlers": ("JobContext", "handler"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what has this name."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return found


def __dir__() -> list[str]:
    """List also what was not asked for yet."""
    return sorted({*globals(), *__all__})
