"""A busy service is waited for, by those who can send the same again."""

from __future__ import annotations

import httpx
import pytest

from annotation_api.http import patience
from annotation_api.http.patience import TRIES, Patient


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response]:
    """What the service answers, in turn."""
    answers: list[httpx.Response] = []
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda self, request: answers.pop(0))
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: waited.append(seconds))
    waited.clear()
    return answers


waited: list[float] = []


def busy(seconds: str = "1") -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": seconds})


def client() -> httpx.Client:
    return httpx.Client(base_url="http://localhost", transport=Patient())


def test_busy_is_waited_for(told: list[httpx.Response]) -> None:
    told += [busy(), busy("2"), httpx.Response(201)]
    assert client().post("/v1/jobs", json={}).status_code == 201
    assert waited == [1, 2]


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(503), busy("3600"), busy("soon"), httpx.Response(429, headers={"Retry-After": "1"})],
)
def test_other_answers_are_the_callers(told: list[httpx.Response], answer: httpx.Response) -> None:
    told.append(answer)
    assert client().get("/v1/me").status_code == answer.status_code
    assert waited == []


def test_it_ends(told: list[httpx.Response]) -> None:
    told += [busy() for _ in range(TRIES)]
    assert client().get("/v1/me").status_code == 503
    assert told == []


def test_a_file_is_sent_once(told: list[httpx.Response]) -> None:
    told.append(busy())
    assert client().post("/v1/datasets", files={"file": ("a.csv", b"x")}).status_code == 503
    assert waited == []
