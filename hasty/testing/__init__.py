"""For tests of code that uses hasty: virtual time, and a whole hasty in it."""

from hasty.testing.clock import VirtualClock
from hasty.testing.journal import Journal
from hasty.testing.loop import VirtualLoop, run_virtually
from hasty.testing.network import Network, Place, Weather
from hasty.testing.process import Process
from hasty.testing.system import Parts, System

__all__ = [
    "Journal",
    "Network",
    "Parts",
    "Place",
    "Process",
    "System",
    "VirtualClock",
    "VirtualLoop",
    "Weather",
    "run_virtually",
]
