"""The Gateway as a Serve deployment, and the application that `serve deploy` takes."""

import os
from typing import Any, cast

from ray import serve
from ray.serve import Application, Deployment
from starlette.types import ASGIApp

from hasty.api.app import build_app
from hasty.api.gateway import Gateway
from hasty.cluster.hosts import dispatcher_ref, mint_job_id, registry_ref
from hasty.cluster.names import GATEWAY
from hasty.handlers.loading import load
from hasty.settings import Settings
from hasty.store.mongo import MongoJobStore
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
        gateway = Gateway(
            registry=registry_ref(settings),
            dispatcher=dispatcher_ref(settings),
            jobs=MongoJobStore(connect(settings.jobs_uri)),
            handlers=load(settings),
            mint=mint_job_id,
        )
        return build_app(gateway, settings.rerun_window_s)


def application(args: Settings) -> Application:
    """Build the Serve application; `args` win over the `HASTY_*` variables of this process.

    Raises CannotStart where no MongoDB is named: a cluster does not start one.
    """
    settings = Settings.load(os.environ, args.model_dump(exclude_unset=True))
    settings.jobs_uri  # noqa: B018  raises while the operator still looks
    deployment = cast("Deployment", GatewayHost)
    return deployment.options(num_replicas=settings.gateways).bind(settings)
