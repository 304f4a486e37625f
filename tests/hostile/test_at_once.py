"""The same thing from several sides at the same moment: one is first, the others are told so, and nothing is logged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx

from annotation_api.db.tables import Role
from tests.hostile.server import HOST, Server, Visitor


def test_one_address_in_eight_invitations(server: Server, visitor: Callable[[Role], Visitor]) -> None:
    with visitor(Role.ADMIN).client() as admin:
        tokens = [admin.post("/v1/invitations", json={"role": "annotator"}).json()["token"] for _ in range(8)]
    together, someone = Barrier(8), {"email": "same@example.org", "name": "Same", "password": "four plain words here"}

    def accept(token: str) -> int:
        with httpx.Client(base_url=f"http://{HOST}:{server.port}", timeout=30) as client:
            together.wait()
            return client.post(f"/v1/invitations/{token}:accept", json=someone).status_code

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(accept, tokens))
    assert told == [201] + [409] * 7
    assert "same@example.org" not in server.log()
