"""Sync functions in child processes that can be killed without hurting anything else.

`Children` is a bounded set of processes that are started when they are needed and stay warm; each
runs one `Call` at a time. `pool` gives calls to children, `process` and `link` are a child as its
parent sees it, `inside` is what runs in it.
"""

from hasty.children.call import Call
from hasty.children.pool import Children

__all__ = ["Call", "Children"]
