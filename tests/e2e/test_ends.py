"""A thousand clients wait for their jobs at the same time."""

import asyncio

from hasty.bench.telling import measure

#: Clients of each kind.
CLIENTS = 500

#: Their ends lie evenly over so many seconds: fifty a second.
OVER_S = 20.0

#: Told within this, 99 of a hundred.
P99_MS = 100


def test_a_thousand_clients_are_told_at_once_that_their_jobs_have_ended(shop):
    async def both():
        url = f"http://127.0.0.1:{shop.port}"
        kinds = [measure(url, CLIENTS, OVER_S, streams=streams) for streams in (False, True)]
        return await asyncio.gather(*kinds)

    told = asyncio.run(both())
    assert [each.clients for each in told] == [CLIENTS, CLIENTS]
    assert max(each.p99 for each in told) < P99_MS, told
