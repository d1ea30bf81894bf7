"""Pools of workers, for operators."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hasty.api.bodies import read_body
from hasty.api.gateway import Gateway
from hasty.api.schemas import PoolsView, PoolView, Scaling
from hasty.api.v1.describing import body, parse, path, problems

POOLS = "/v1/pools"


class Pools:
    """The endpoints for operators."""

    def __init__(self, gateway: Gateway) -> None:
        """Serve from `gateway`."""
        self._gateway = gateway

    async def show(self, _request: Request) -> Response:
        """Say how the pools of workers are."""
        answer = await self._gateway.pools()
        shown = PoolsView(generation=answer.generation, pools=[PoolView.of(pool) for pool in answer.pools])
        return JSONResponse(shown.model_dump(mode="json"))

    async def scale(self, request: Request) -> Response:
        """Let a pool have another number of workers. A 200 is durable; it takes a while to come true.

        New workers take jobs at once, the oldest first. Those that are too many take no more jobs,
        and go when they have none.
        """
        asked = parse(Scaling, await read_body(request))
        workers = asked.workers if isinstance(asked.workers, int) else None
        state = await self._gateway.scale(request.path_params["name"], workers)
        return JSONResponse(PoolView.of(state).model_dump(mode="json"))


def add_pools(app: FastAPI, gateway: Gateway) -> None:
    """Serve pools from `gateway`."""
    pools = Pools(gateway)
    app.get(POOLS, response_model=PoolsView, responses=problems(503))(pools.show)
    app.patch(
        POOLS + "/{name}",
        response_model=PoolView,
        responses=problems(400, 404, 413, 422, 503),
        openapi_extra={**path("name"), **body(Scaling)},
    )(pools.scale)
