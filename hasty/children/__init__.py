"""Sync functions in child processes that can be killed without hurting anything else.

`Children` is a bounded set of processes that are started when they are needed and stay warm; each
runs one `Call` at a time. A function can tell its parent things while it runs, and be warned that
it is to end. `pool` gives calls to children, `child` is one of them at its call; `process`, `link`
and `flag` are its process as the parent sees it, `inside` is what runs in it.
"""

from hasty.children.call import Call
from hasty.children.pool import Children

__all__ = ["Call", "Children"]
