"""Finding users' handlers: import the modules they named, and take what is declared there."""

import importlib
import linecache
import logging
import sys
import traceback
from collections.abc import Iterator

from hasty.errors import CannotStart
from hasty.handlers.catalogue import Handlers
from hasty.handlers.decorator import Declaration, declaration_of
from hasty.handlers.sleep import built_in
from hasty.settings import Settings
from hasty.telemetry import HandlersLoaded, emit


def load(settings: Settings) -> Handlers:
    """Return the built-in handlers and those of the modules that the settings name.

    Every process that loads the same files gets the same handlers. Raises CannotStart with one
    line: a module cannot be imported or has no handler in it, two handlers have one name, or one
    wants a pool that there is not.
    """
    # A handler that several modules import is one handler.
    found = dict.fromkeys(one for path in settings.handlers for one in declared_in(path))
    _speak_on()
    limits = {"timeout_s": settings.timeout_s, "rerun_window_s": settings.rerun_window_s}
    handlers = Handlers(*built_in(settings).values(), *(one.handler(**limits) for one in found))
    _check_pools(handlers, settings)
    emit(HandlersLoaded(",".join(handlers), handlers.version))
    return handlers


def _speak_on() -> None:
    """Let a module set up logging as it likes, but not silence us: by default that is part of it."""
    for name in ("hasty", "hasty.api"):
        logging.getLogger(name).disabled = False


def _check_pools(handlers: Handlers, settings: Settings) -> None:
    pools = settings.all_pools
    for handler in handlers.values():
        if handler.pool not in pools:
            raise CannotStart(
                f"the handler {handler.name!r} wants the pool {handler.pool!r}, and there are: "
                f"{', '.join(pools)}; add [pools.{handler.pool}] to the settings, or name another"
            )


def declared_in(path: str) -> list[Declaration]:
    """Return what is declared in a module: what its names, and those of modules below it, stand for."""
    _import(path)
    below = sorted(name for name in sys.modules if name == path or name.startswith(f"{path}."))
    things = [thing for name in below for thing in vars(sys.modules[name]).values()]
    found = [declared for declared in map(declaration_of, things) if declared is not None]
    if not found:
        raise CannotStart(f"{path} has no handler: put @hasty.handler above a function of it")
    return found


def _import(path: str) -> None:
    try:
        importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise CannotStart(_told(path, error)) from error
        raise CannotStart(
            f"there is no module {path}: install it, or let PYTHONPATH name the folder it is in"
        ) from error
    except BaseException as error:  # the module is the user's: it may do anything
        raise CannotStart(_told(path, error)) from error


def _told(path: str, error: BaseException) -> str:
    """Say in one line what went wrong while a module was imported, and where in the user's code."""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{path} cannot be imported: {what}{_place(path, error)}"


def _place(path: str, error: BaseException) -> str:
    """Show the last line of the user's own code on the way to the error."""
    if isinstance(error, SyntaxError):
        # It says its place itself, and no frame of the file exists.
        return f": {error.text.strip()}" if error.text else ""
    for file, number in reversed(list(_lines(error, path.partition(".")[0]))):
        return f" ({file}, line {number}: {linecache.getline(file, number).strip()})"
    return ""


def _lines(error: BaseException, package: str) -> Iterator[tuple[str, int]]:
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            yield frame.f_code.co_filename, number
