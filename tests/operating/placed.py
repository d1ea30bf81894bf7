"""Handlers that run only where the resources of their pool are."""

import os

import hasty


@hasty.handler(pool="gpu")
def looks() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "GREETING")}


@hasty.handler(pool="elsewhere")
async def waits() -> str:
    return "placed"
