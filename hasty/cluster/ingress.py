"""The Gateway as a Serve deployment, and the application that `serve deploy` takes."""

import os
from typing import Any, cast

from ray import serve
from ray.serve import Application, Deployment
from starlette.types import ASGIApp

from hasty.api.app import build_app
from hasty.api.gateway import Gateway
from hasty.api.guard import Gate
from hasty.api.hub import Hub
from hasty.api.readers import Readers
from hasty.api.scheduling import Scheduling
from hasty.clock import SystemClock
from hasty.cluster.hosts import clerk_ref, dispatcher_ref, mint_job_id, registry_ref
from hasty.cluster.leaving import Leaving
from hasty.cluster.names import GATEWAY
from hasty.handlers.loading import load
from hasty.settings import Settings
from hasty.store.mongo import (
    MongoAttempts,
    MongoEventStore,
    MongoJobReader,
    MongoJobStore,
    MongoKeys,
    MongoOutbox,
    MongoScheduleStore,
)
from hasty.store.mongo.connection import connect

#: Requests in one replica at once; each holds one place until it is answered.
_ONGOING = 5_000


#: How Serve runs a replica of ours; an echo to compare with runs the same way.
INGRESS: dict[str, Any] = {
    "max_ongoing_requests": _ONGOING,
    "max_queued_requests": _ONGOING,
    # Three failures in a row replace a replica: one that is frozen after some 12 s.
    "health_check_period_s": 1,
    "health_check_timeout_s": 3,
    "graceful_shutdown_timeout_s": 5,
    "graceful_shutdown_wait_loop_s": 0.1,
    # The default stops an old replica before its successor serves.
    "max_surge_percent": 100,
    "ray_actor_options": {"num_cpus": 0.1},
    # A line for each request costs a tenth of the rate.
    "logging_config": {"enable_access_log": False},
}


@serve.deployment(name=GATEWAY, **INGRESS)
@serve.ingress()
class GatewayHost:
    """A Gateway replica. It brings the Registry and the Dispatcher to life if need be."""

    def __init__(self, settings: Settings) -> None:
        """Note the settings; nothing is connected."""
        self._settings = settings

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build the application in the replica, where its loop runs."""
        settings = self._settings
        client = connect(settings.jobs_uri)
        jobs, handlers = MongoJobStore(client), load(settings)
        gateway = Gateway(
            registry=registry_ref(settings),
            dispatcher=dispatcher_ref(settings),
            jobs=jobs,
            handlers=handlers,
            mint=mint_job_id,
            webhooks=settings.webhooks_enabled,
        )
        attempts = MongoAttempts(connect(settings.ledger_uri))
        readers = Readers(MongoJobReader(client), attempts, jobs, handlers)
        gate = Gate(MongoKeys(client), SystemClock(), settings.rate_limit) if settings.needs_keys else None
        hub = Hub(SystemClock())
        if settings.event_retention_s:
            hub = Hub(SystemClock(), clerk_ref(settings), MongoEventStore(client))
        app = build_app(
            gateway,
            settings.rerun_window_s,
            gate,
            readers=readers,
            hub=hub,
            scheduling=Scheduling(
                MongoScheduleStore(client), jobs, SystemClock(), check=gateway.check, mint=mint_job_id
            ),
            outbox=MongoOutbox(client),
        )
        return Leaving(app, hub)


def application(args: Settings) -> Application:
    """Build the Serve application; `args` win over the `HASTY_*` variables of this process.

    Where nobody says on which address HTTP listens, requests need API keys: only Serve knows it.
    Raises CannotStart where no MongoDB is named: a cluster does not start one.
    """
    settings = Settings.load(os.environ, args.model_dump(exclude_unset=True))
    if settings.auth is None and "http_host" not in settings.model_fields_set:
        settings = settings.model_copy(update={"auth": True})
    settings.jobs_uri  # noqa: B018  raises while the operator still looks
    deployment = cast("Deployment", GatewayHost)
    return deployment.options(num_replicas=settings.gateways).bind(settings)
