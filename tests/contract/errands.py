"""What the tests have children do."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

#: Ways to be stuck.
FOR_EVER = (
    "loop_for_ever",
    "sleep_for_ever",
    "match_for_ever",
    "hold_the_gil_for_ever",
    "ignore_sigterm_for_ever",
)


class Unpicklable(Exception):
    """Of a class that nobody finds by its name, and that wants more than pickle would give it."""

    __qualname__ = "nowhere.Unpicklable"

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Opened:
    """Does something to whoever unpickles it."""

    def __init__(self, errand, *arguments):
        self.errand, self.arguments = errand, arguments

    def __reduce__(self):
        return perform, (self.errand, *self.arguments)


def perform(errand, *arguments):
    return prepare()[errand](*arguments)


# How they are made ready ---------------------------------------------------------------------------


def prepare():
    return {name: errand for name, errand in globals().items() if callable(errand)}


def prepare_in_vain():
    raise ModuleNotFoundError("No module named 'torch'")


def prepare_and_exit():
    os._exit(7)


def prepare_for_ever():
    loop_for_ever()


# What they do --------------------------------------------------------------------------------------


def echo(*arguments):
    return list(arguments)


def pid():
    return os.getpid()


def wait_for(path):
    """Wait until somebody writes into a file."""
    while not Path(path).stat().st_size:
        time.sleep(0.005)
    return os.getpid()


def loop_for_ever():
    while True:
        pass


def sleep_for_ever():
    time.sleep(1e6)


def match_for_ever():
    re.match(r"(a+)+$", "a" * 64 + "b")


def hold_the_gil_for_ever():
    """Stay in a C function that never looks at Python again."""
    ctypes.PyDLL(None).pause()


def ignore_sigterm_for_ever():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loop_for_ever()


def return_and_die(seconds):
    threading.Timer(seconds, os._exit, (3,)).start()
    return "the last word"


def segfault():
    ctypes.string_at(0)


def leave(code):
    os._exit(code)


def signal_itself(number):
    os.kill(os.getpid(), number)


def raise_unpicklable():
    raise Unpicklable("one", "two")


def raise_speechless():
    raise Speechless


def evaluate(expression):
    return eval(expression)


def raise_built_in(name, *arguments):
    raise evaluate(name)(*arguments)


def nested(depth):
    result = []
    for _ in range(depth):
        result = [result]
    return result


def descriptors():
    """List what is open, and not because we look."""
    return sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir() if entry.exists())


def variable(name):
    return os.environ.get(name)


def main_file():
    return sys.modules["__main__"].__file__


def fork_and_return():
    """Return twice."""
    return os.fork()


def start_a_program(path):
    """Start a program that would outlive us, and be stuck."""
    Path(path).write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
    loop_for_ever()


def close_the_link():
    os.closerange(3, 100)
    loop_for_ever()


def babble():
    """Send what is no answer."""
    os.write(descriptors()[3], b"\xff" * 1000)
    loop_for_ever()


def print_and_loop_for_ever():
    print(json.dumps({"pid": os.getpid()}))  # noqa: T201  that it is printed is the point
    loop_for_ever()
