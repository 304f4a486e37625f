"""Files that are sent by nobody, by too many, or never to their end: settled before the first byte of the body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from annotation_api.db import limits
from annotation_api.db.engine import make_engine
from annotation_api.db.tables import Role
from annotation_api.http.quotas import Quota
from tests.hostile.server import Server, Visitor, begin, connected, status_of

Visitors = Callable[[Role], Visitor]
MULTIPART = "multipart/form-data; boundary=b"
PATHS = ("/v1/datasets", "/v1/datasets:preview", "/datasets/preview")
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nprompt,chosen,rejected\r\n'
KIND = b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\npreferences\r\n'
WHOLE = KIND + PART + b"Q?,a,b\r\n\r\n--b--\r\n"
LARGE = 300 * 2**20


@pytest.mark.parametrize("path", PATHS)
def test_who_may_not_is_told_before_a_byte_is_sent(server: Server, visitor: Visitors, path: str) -> None:
    engineer, annotator = visitor(Role.ENGINEER), visitor(Role.ANNOTATOR)
    cookie, elsewhere = f"Cookie: rankloop={engineer.token}", "Sec-Fetch-Site: cross-site"
    refused = {
        "nobody": begin(server.port, path, LARGE, MULTIPART),
        "bad key": begin(server.port, path, LARGE, MULTIPART, "Authorization: Bearer rl_x_y"),
        "annotator": annotator.begin(path, LARGE, MULTIPART),
        "elsewhere": begin(server.port, path, LARGE, MULTIPART, cookie, elsewhere),
        "too large": engineer.begin(path, 3 * 2**30, MULTIPART),
        "no length": connected(
            server.port,
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n{cookie}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode(),
        ),
    }
    told = {why: status_of(line) for why, line in refused.items()}
    assert told == {
        "nobody": 401,
        "bad key": 401,
        "annotator": 403,
        "elsewhere": 403,
        "too large": 413,
        "no length": 411,
    }


def test_a_quota_is_spent_before_a_byte_is_sent(server: Server, visitor: Visitors) -> None:
    engineer = visitor(Role.ENGINEER)
    engine = make_engine(server.database_url)
    with Session(engine) as session:
        limits.spend(session, [limits.Use(f"{Quota.UPLOAD_BYTES} {engineer.person}", 2**60, 3600, 50 * 2**30)])
    engine.dispose()
    assert status_of(engineer.begin(PATHS[0], LARGE, MULTIPART)) == 429


def test_stalled_uploads_end_and_give_their_places_back(server: Server, visitor: Visitors) -> None:
    """A person has two places and all have four; others work beside them; then the places are free again."""
    people = [visitor(Role.ENGINEER) for _ in range(3)]
    with stalled(*people[:1] * 2) as (first, _):
        assert status_of(people[0].begin(PATHS[0], 1000, MULTIPART)) == 429
        with stalled(*people[1:2] * 2), people[2].client() as client:
            assert client.get("/readyz").status_code == 200
            answer = client.post(PATHS[0], data={"kind": "preferences"}, files={"file": ("a.csv", WHOLE)})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert status_of(first) == 408
    line = people[0].begin(PATHS[0], len(WHOLE), MULTIPART)
    line.sendall(WHOLE)
    assert status_of(line) == 201
    assert list(server.uploads.iterdir()) == []


@contextmanager
def stalled(*people: Visitor) -> Iterator[list]:
    """Uploads of which the server has a beginning; they end by themselves."""
    lines = [person.begin(PATHS[0], LARGE, MULTIPART, "Expect: 100-continue") for person in people]
    assert [status_of(line) for line in lines] == [100] * len(people)  # their places are taken
    for line in lines:
        line.sendall(PART)
    yield lines
    assert [status_of(line) for line in lines[1:]] == [408] * len(lines[1:])
