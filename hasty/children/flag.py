"""A number that a child can read while it runs something else."""

import os
import sys

from hasty.children import inside


class Flag:
    """Memory that we write, and a child that was given the descriptor reads. It starts as 0."""

    def __init__(self) -> None:
        """Raises OSError where there is no room for it."""
        self._descriptor = os.memfd_create("hasty-flag")
        self.show(0)

    def fileno(self) -> int:
        """Return its descriptor, for a child to inherit."""
        return self._descriptor

    def show(self, number: int) -> None:
        """Let it be read from now on; returns at once."""
        os.pwrite(self._descriptor, number.to_bytes(inside.FLAG, sys.byteorder), 0)

    def close(self) -> None:
        """Let go of it. A child that has it keeps it as it is."""
        os.close(self._descriptor)
