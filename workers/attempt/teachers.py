"""Which endpoint a job of instructions may ask: one that the settings name, or none.

The settings are those of the machine that runs the job; its environment holds the key, under the name that they give.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from alignment.shared.errors import BadInput
from alignment.shared.sentence import Sentence
from alignment.shared.stages import Teacher

Endpoints = Mapping[str, tuple[str, str | None]]  # URL, and the variable that holds the key, by the endpoint's name


def teacher_of(config: Mapping[str, Any], allowed: Endpoints) -> dict[str, Any]:
    """The input that the job's setting stands for. Raises BadInput for an endpoint that is not allowed."""
    name = config.get("teacher")
    if name is None:
        return {}
    if name not in allowed:
        cause = Sentence(
            "endpoint-not-allowed", "The endpoint %(name)s is not allowed on this machine.", name=f"{name!r}"
        )
        raise BadInput(
            cause, Sentence("endpoint-not-allowed-next", "An admin lists it in RANKLOOP_TEACHERS of the dispatcher.")
        )
    url, variable = allowed[name]
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        cause = Sentence(
            "endpoint-key-missing",
            "The key of the endpoint %(name)s is missing: %(variable)s is not set here.",
            name=f"{name!r}",
            variable=variable,
        )
        raise BadInput(cause, Sentence("endpoint-key-missing-next", "Set it in the environment of the dispatcher."))
    return {"teacher": Teacher(url=url, key=SecretStr(key) if key else None)}
