"""The parts of the service, by name; the standard library only, as the command line asks."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """A process that may be served by itself."""

    API = "api"
    DISPATCHER = "dispatcher"
    RAY_HEAD = "ray-head"
    RAY_NODE = "ray-node"

    @property
    def of_ray(self) -> bool:
        return self in (Part.RAY_HEAD, Part.RAY_NODE)
