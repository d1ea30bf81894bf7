"""`/v1`: jobs for any handler, with typed payloads, for new users. OpenAPI at `/docs`."""

from hasty.api.v1.app import build_v1

__all__ = ["build_v1"]
