"""Heads of requests that never end, or are larger than any client's; and callers who leave."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from annotation_api.db.tables import Role
from annotation_api.http.entry.wire import HEAD_SECONDS, LINGER_SECONDS
from tests.hostile.server import HOST, Server, Visitor, begin, connected, status_of

GET = b"GET /healthz HTTP/1.1\r\n"
POST = b"POST /v1/session HTTP/1.1\r\nContent-Type: application/json\r\n"
HOST_LINE = f"Host: {HOST}\r\n".encode()


def test_half_requests_are_cut_and_stop_nobody(server: Server) -> None:
    lines = [connected(server.port, start) for start in (b"", b"G", GET, GET + HOST_LINE) for _ in range(100)]
    assert status_of(connected(server.port, GET + HOST_LINE + b"\r\n")) == 200
    began = time.monotonic()
    assert [line.recv(1) for line in lines] == [b""] * len(lines)
    assert time.monotonic() - began < 5 * HEAD_SECONDS


@pytest.mark.parametrize(
    "head",
    [
        GET + HOST_LINE + b"X: " + b"x" * 8 * 2**20 + b"\r\n\r\n",
        GET + HOST_LINE + b"X: y\r\n" * 50_000 + b"\r\n",
        GET + HOST_LINE + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
        GET + HOST_LINE + b"Host: elsewhere.example\r\n\r\n",
        GET + b"\r\n",
        POST + HOST_LINE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        POST + HOST_LINE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GET.replace(b"\r", b"") + HOST_LINE.replace(b"\r", b"") + b"\n",
    ],
    ids=["8 MB", "50,000 headers", "40 kB", "two hosts", "no host", "two lengths", "length and chunks", "bare ends"],
)
def test_heads_that_nobody_needs_are_refused(server: Server, head: bytes) -> None:
    line = connected(server.port)
    try:
        line.sendall(head)
        status = status_of(line)
    except (BrokenPipeError, ConnectionResetError):  # cut while it still sent
        status = None
    assert status in (400, None)
    assert status_of(connected(server.port, GET + HOST_LINE + b"\r\n")) == 200


def test_who_was_answered_and_does_not_send_the_rest_is_cut(server: Server, visitor: Callable[[Role], Visitor]) -> None:
    line = visitor(Role.ANNOTATOR).begin("/v1/datasets", 2**20, "multipart/form-data; boundary=b")
    assert status_of(line) == 403
    began = time.monotonic()
    while line.recv(65536):
        pass
    assert time.monotonic() - began < 5 * LINGER_SECONDS


def test_who_leaves_in_the_middle_of_signing_in_is_no_fault_of_ours(server: Server) -> None:
    for path, kind in (("/v1/session", "application/json"), ("/login", "application/x-www-form-urlencoded")):
        line = begin(server.port, path, 100, kind)
        line.sendall(b'{"email"')
        line.close()
    before = time.monotonic()
    while server.log().count(" 499 in ") < 2:
        assert time.monotonic() - before < 20
        time.sleep(0.05)
    assert "Traceback" not in server.log()
