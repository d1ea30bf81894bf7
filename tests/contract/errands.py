"""What the tests have children do."""

import contextlib
import contextvars
import ctypes
import inspect
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
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
    return prepare()[errand](None, *arguments)


# How they are made ready ---------------------------------------------------------------------------


def prepare():
    return {name: on_line(errand) for name, errand in globals().items() if inspect.isfunction(errand)}


def on_line(errand):
    """Let an errand that has no use for its line do without."""
    if "line" in inspect.signature(errand).parameters:
        return errand
    return lambda _line, *arguments: errand(*arguments)


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


def return_and_die(path):
    """Return when somebody writes into a file, and die once that was said."""
    threading.Thread(target=die_when_it_is_over).start()
    wait_for(path)
    return "the last word"


def die_when_it_is_over():
    wait_until_it_is_over()
    os._exit(3)


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


MARK = contextvars.ContextVar("mark", default="nobody's")


def mark(word):
    """Leave a mark in our context; return the one that was there."""
    before = MARK.get()
    MARK.set(word)
    return before


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


# What they say on the line -------------------------------------------------------------------------

#: How often those told something who go on after their errand.
told_after = []


def power(line, exponent, *, base):
    return base**exponent


def tell(line, *values):
    for value in values:
        line.tell(value)
    return "told"


def tell_what_is(line, expression):
    line.tell(evaluate(expression))


def tell_from_threads(line, threads, times):
    tellers = [
        threading.Thread(target=tell, args=(line, *((thread, time) for time in range(times))))
        for thread in range(threads)
    ]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()


def tell_and_wait_for(line, value, path):
    line.tell(value)
    return wait_for(path)


def tell_and_leave(line, value):
    line.tell(value)
    os._exit(3)


def tell_when_it_is_over(line, path):
    """Tell something when our main thread waits for its next call, say so in a file, and go on telling."""
    wait_until_it_is_over()
    line.tell("too late")
    Path(path).write_text("told")
    while True:
        line.tell("far too late")
        told_after.append(1)


def wait_until_it_is_over():
    """Return when our main thread has answered, and waits for its next call."""
    while not any(frame.name == "_next" for frame in main_stack()):
        time.sleep(0.001)


def main_stack():
    return traceback.extract_stack(sys._current_frames()[threading.main_thread().ident])


def leave_one_behind(line, word, told):
    """Leave a thread that goes on, and return when somebody writes into a file."""
    threading.Thread(target=tell_when_it_is_over, args=(line, told), daemon=True).start()
    return wait_for(word)


def wait_for_one_behind(times):
    """Wait until a thread that was left behind has tried so often more."""
    enough = len(told_after) + times
    while len(told_after) < enough:
        time.sleep(0.001)


def tell_beside_one_behind(line, values):
    for value in values:
        wait_for_one_behind(20)
        line.tell(value)
    return os.getpid()


def fork_and_tell(line):
    """Have a fork and a fork of that tell something, while a thread of ours does; return how they ended."""
    line.tell("before")
    with speaking(line):
        if fork := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    line.tell("from a fork")
    if fork := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))
    line.tell("from a fork of a fork")
    os._exit(0)


@contextlib.contextmanager
def speaking(line):
    """Have a thread in the middle of telling something."""
    begun, enough = threading.Event(), []

    def speak():
        with line._link.lock:
            begun.set()
            while not enough:  # not an event, whose own lock a fork might find taken
                time.sleep(0.001)

    threading.Thread(target=speak, daemon=True).start()
    begun.wait()
    yield
    enough.append(1)


def tell_out_of_signals(line, times):
    """Tell things while a signal handler tells things, and raises into what it interrupts."""
    numbers, telling = iter(range(times)), False

    def tick(_number, _frame):
        nonlocal telling
        # Only into what expects it; not into itself, when the next signal comes early.
        expected, telling = telling, False
        for number in itertools.islice(numbers, 1):
            line.tell(number)
        if expected:
            raise TimeoutError

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    while numbers.__length_hint__():
        with contextlib.suppress(TimeoutError):
            telling = True
            line.tell("x" * 16_000)
            telling = False
    signal.setitimer(signal.ITIMER_REAL, 0)


def wait_for_warning(line):
    while not line.warned():
        time.sleep(0.001)
    return os.getpid()


def wait_for_warning_and(line, path):
    wait_for_warning(line)
    return wait_for(path)


def was_warned(line):
    return [os.getpid(), line.warned()]
