"""Handlers: the functions that do the work, what they take and return, and where they are found."""

from hasty.handlers.catalogue import Handler, Handlers
from hasty.handlers.context import JobContext
from hasty.handlers.decorator import handler
from hasty.handlers.sleep import SLEEP, built_in, sleeper
from hasty.handlers.term import Term

__all__ = ["SLEEP", "Handler", "Handlers", "JobContext", "Term", "built_in", "handler", "sleeper"]
