"""For tests of code that uses hasty: one attempt inline, or a whole hasty on virtual time.

Each name but an error's is imported when it is first asked for: the pytest plugin is part of every
test run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hasty.errors import JobRefused

if TYPE_CHECKING:
    from hasty.testing.clock import VirtualClock
    from hasty.testing.inline import FakeContext, Overran, Performed, context, perform, perform_async
    from hasty.testing.journal import Journal
    from hasty.testing.loop import VirtualLoop, run_virtually
    from hasty.testing.network import Network, Place, Weather
    from hasty.testing.process import Process
    from hasty.testing.system import Parts, System
    from hasty.testing.virtual import VirtualHasty

__all__ = [
    "FakeContext",
    "JobRefused",
    "Journal",
    "Network",
    "Overran",
    "Parts",
    "Performed",
    "Place",
    "Process",
    "System",
    "VirtualClock",
    "VirtualHasty",
    "VirtualLoop",
    "Weather",
    "context",
    "perform",
    "perform_async",
    "run_virtually",
]

_NAMES_OF = {
    "clock": ("VirtualClock",),
    "inline": ("FakeContext", "Overran", "Performed", "context", "perform", "perform_async"),
    "journal": ("Journal",),
    "loop": ("VirtualLoop", "run_virtually"),
    "network": ("Network", "Place", "Weather"),
    "process": ("Process",),
    "system": ("Parts", "System"),
    "virtual": ("VirtualHasty",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what has this name."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
