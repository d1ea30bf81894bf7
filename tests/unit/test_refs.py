"""Calls over Ray: what becomes of those that cannot be made."""

import pytest
from ray.exceptions import RayError

from hasty.cluster.refs import RayRef
from hasty.errors import Unreachable


@pytest.mark.parametrize("error", [ValueError(), RayError(), OSError(), AssertionError()], ids=repr)
async def test_whatever_goes_wrong_before_anything_was_said_may_be_asked_again(error):
    def resolve():
        raise error

    with pytest.raises(Unreachable, match=f"not found .{type(error).__name__}."):
        await RayRef(resolve).health()
