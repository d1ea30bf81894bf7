"""A store at the other end of the network: away, refusing, silent about what it did, or doing it late."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from hasty.errors import StoreUnavailable
from hasty.testing.network import Network, Place

if TYPE_CHECKING:
    import asyncio


class RemoteStore:
    """A store in memory as one incarnation sees it. What is carried out is carried out at one moment."""

    def __init__(self, store: Any, network: Network, caller: Place) -> None:
        """Reach `store` over `network`."""
        self._store, self._network, self._caller = store, network, caller

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Ask the store for this operation."""
        method = getattr(self._store, name)

        async def call(*args: Any) -> Any:
            about = (f"{self._caller} → {type(self._store).__name__}.{name}", args)
            return await _Operation(self._network, self._caller, method, args, about).reply

        return call


class _Operation:
    """One operation under way."""

    def __init__(
        self,
        network: Network,
        caller: Place,
        method: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        about: Any,
    ) -> None:
        self._network, self._caller = network, caller
        self._method, self._args, self._about = method, args, about
        self.reply: asyncio.Future[Any] = network.loop.create_future()
        network.later(self._arrive)

    def _arrive(self) -> None:
        network, weather = self._network, self._network.weather
        if self._caller.cut or weather.store_away or network.happens(weather.store_refuses):
            self._refuse("refused")
        elif network.happens(weather.store_late):
            self._refuse("will be late")
            network.later(self._carry_out, within_s=weather.store_late_s)
        else:
            self._carry_out()

    def _refuse(self, why: str) -> None:
        self._network.journal.note(*self._about, why)
        self._network.later(self._deliver, StoreUnavailable(), None)

    def _carry_out(self) -> None:
        error, answer = _at_once(self._method(*self._args))
        self._network.journal.note(*self._about, "=", error or answer)
        if self._caller.cut or self._network.happens(self._network.weather.store_silent):
            self._network.later(self._deliver, StoreUnavailable(), None)
        else:
            self._network.later(self._deliver, error, answer)

    def _deliver(self, error: BaseException | None, answer: Any) -> None:
        if self.reply.done():
            return
        if error is not None:
            self.reply.set_exception(error)
        else:
            self.reply.set_result(answer)


def _at_once(operation: Coroutine[Any, Any, Any]) -> tuple[BaseException | None, Any]:
    """Run what does not wait for anything."""
    try:
        operation.send(None)
    except StopIteration as done:
        return None, done.value
    except Exception as error:  # noqa: BLE001  it is its caller's
        return error, None
    operation.close()
    raise RuntimeError("a store in memory waits for nothing")
