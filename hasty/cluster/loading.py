"""Users' handlers in an actor, which must not fail while it is made."""

import logging
import os
import time

from hasty.errors import CannotStart
from hasty.handlers import Handlers
from hasty.handlers.loading import load
from hasty.settings import Settings
from hasty.telemetry import HandlersMissing, emit

#: Ray starts a process that ended again at once, and a start costs a second of a core.
_AGAIN_AFTER_S = 2.0


def load_or_leave(worker: str, settings: Settings) -> Handlers:
    """Return the handlers, or end this process, so that Ray tries again.

    Ray does not start an actor again whose constructor raised, and one without its handlers would
    end their jobs as `failed`. While it tries, they wait.
    """
    try:
        return load(settings)
    except CannotStart as error:
        emit(HandlersMissing(worker, str(error)), level=logging.ERROR)
        time.sleep(_AGAIN_AFTER_S)
        os._exit(1)
