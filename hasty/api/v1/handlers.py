"""Handlers: what can be asked for."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hasty.api.reading_schemas import HandlersView, HandlerView
from hasty.handlers import Handlers

HANDLERS = "/v1/handlers"


class Shown:
    """The endpoint. What it shows does not change while a Gateway lives."""

    def __init__(self, handlers: Handlers) -> None:
        """Show these."""
        views = [HandlerView.of(handlers[name]) for name in sorted(handlers)]
        self._content = HandlersView(handlers=views).model_dump(mode="json")

    async def show(self, _request: Request) -> Response:
        """List the registered handlers: their limits, and what payload and result look like."""
        return JSONResponse(self._content)


def add_handlers(app: FastAPI, handlers: Handlers) -> None:
    """Serve what is known of `handlers`."""
    app.get(HANDLERS, response_model=HandlersView)(Shown(handlers).show)
