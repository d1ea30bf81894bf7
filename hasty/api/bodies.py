"""Bounded reading of request bodies."""

import asyncio

from starlette.requests import Request

from hasty.errors import BodyTooLarge, FixTheRequest, Overloaded

#: Longest body of a request, in bytes; and of one with many jobs.
BODY_LIMIT = 1024 * 1024
BATCH_LIMIT = 8 * BODY_LIMIT

#: Bodies that are being read in this process may hold so much, all together; the beginning of each is free,
#: so that large ones that come slowly do not shut out small ones.
UNDER_WAY_LIMIT = 256 * BODY_LIMIT
FREE = 16 * 1024

#: Who sends it more slowly, or less than was declared, holds a place in the Gateway no longer.
BODY_WITHIN_S = 60.0


async def read_body(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """Return the body; raise BodyTooLarge as soon as it is known to be, without reading the rest.

    Raises FixTheRequest when it has not arrived after `BODY_WITHIN_S`, Overloaded when too much is being
    read beside it.
    """
    declared = request.headers.get("content-length", "")
    # Compared by length first: a number of thousands of digits is not worth parsing.
    if declared.isdecimal() and (len(declared) > len(str(limit)) or int(declared) > limit):
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await _read(request, limit)
    except TimeoutError:
        raise FixTheRequest(f"The body did not arrive within {BODY_WITHIN_S:g} s.") from None


async def _read(request: Request, limit: int) -> bytes:
    body, taken = bytearray(), 0
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
            more = max(0, len(body) - FREE) - taken
            _under_way.take(more)
            taken += more
        return bytes(body)
    finally:
        _under_way.give_back(taken)


class _UnderWay:
    """What arrived of bodies that are not whole yet, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def take(self, count: int) -> None:
        if self.bytes + count > UNDER_WAY_LIMIT:
            raise Overloaded(f"{self.bytes >> 20} MiB of requests are being read already")
        self.bytes += count

    def give_back(self, count: int) -> None:
        self.bytes -= count


_under_way = _UnderWay()


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit // BODY_LIMIT} MiB.")
