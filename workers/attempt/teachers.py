"""Which endpoint a job of instructions may ask: one that the settings name, or none.

The settings are those of the machine that runs the job; its environment holds the key, under the name that they give.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from alignment.shared.errors import BadInput
from alignment.shared.stages import Teacher

Endpoints = Mapping[str, tuple[str, str | None]]  # URL, and the variable that holds the key, by the endpoint's name


def teacher_of(config: Mapping[str, Any], allowed: Endpoints) -> dict[str, Any]:
    """The input that the job's setting stands for. Raises BadInput for an endpoint that is not allowed."""
    name = config.get("teacher")
    if name is None:
        return {}
    if name not in allowed:
        cause = f"The endpoint {name!r} is not allowed on this machine."
        raise BadInput(cause, "An admin lists it in RANKLOOP_TEACHERS of the dispatcher.")
    url, variable = allowed[name]
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        cause = f"The key of the endpoint {name!r} is missing: {variable} is not set here."
        raise BadInput(cause, "Set it in the environment of the dispatcher.")
    return {"teacher": Teacher(url=url, key=SecretStr(key) if key else None)}
