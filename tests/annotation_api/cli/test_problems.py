"""What a refusal is about, as who typed the command knows it."""

from __future__ import annotations

import httpx
import pytest

from alignment.shared.validation import Problem
from annotation_api.cli.client import ClientError, checked
from annotation_api.cli.problems import told
from annotation_api.web.markup.rendering import _place


@pytest.mark.parametrize(
    ("pointer", "typed", "shown"),
    [
        ("/sha256/a:b.bin", "/sha256/a:b.bin", "sha256.a:b.bin"),
        ("header:Idempotency-Key", "Idempotency-Key", "Idempotency-Key"),
        ("query:tag", "--tag", "tag"),
        ("query:created_by", "--mine", "created_by"),
        ("query:job.0", "JOB", "job.0"),
        ("path:job_id", "'7'", "7"),
        ("/config/sft", "/config/sft", "config.sft"),
    ],
)
def test_a_problem_names_what_was_typed(pointer: str, typed: str, shown: str) -> None:
    assert told({"pointer": pointer, "message": "no", "value": "7"}) == f"{typed}: no"
    assert _place(Problem(pointer=pointer, message="no", value="7")) == shown


def test_a_service_below_a_path_has_its_keys_there() -> None:
    request = httpx.Request("GET", "http://h/rankloop/v1/jobs?name=/v1/x")
    body = {"detail": "No.", "type": "urn:rankloop:forbidden"}
    with pytest.raises(ClientError, match="makes a key at http://h/rankloop/keys; set"):
        checked(httpx.Response(403, json=body, request=request))
