"""The command line: a client of any hasty, and how one is run on this machine.

With `pip install hasty` all of it can be imported. What needs the server is imported when it is called
for.
"""

from hasty.cli.app import app, main

__all__ = ["app", "main"]
