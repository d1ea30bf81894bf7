"""The names under which the parts of hasty are found on a Ray cluster."""

#: Ray's namespace of all actors.
NAMESPACE = "hasty"

#: The Serve application, and its ingress deployment.
APPLICATION = "hasty"
GATEWAY = "Gateway"

REGISTRY = "hasty-registry"
DISPATCHER = "hasty-dispatcher"


def worker_names(count: int) -> tuple[str, ...]:
    """Name the workers of a pool of `count`."""
    return tuple(f"hasty-worker-{position}" for position in range(count))
