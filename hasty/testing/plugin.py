"""What pytest gets from hasty: two fixtures. They cost nothing before they are asked for."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from hasty import testing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hasty.testing import FakeContext, VirtualHasty


@pytest.fixture
def job_context() -> "Callable[..., FakeContext]":
    """Make contexts for calling a handler as the function it is. See `hasty.testing.context`."""
    return testing.context


@pytest.fixture
def virtual_hasty() -> "Iterator[Callable[..., VirtualHasty]]":
    """Start a hasty on virtual time with these handlers; ended after the test. See `VirtualHasty`."""
    with ExitStack() as running:

        def start(*handlers: Any, **settings: Any) -> "VirtualHasty":
            return running.enter_context(testing.VirtualHasty(*handlers, **settings))

        yield start
