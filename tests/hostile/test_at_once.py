"""The same thing from several sides at the same moment: one is first, the others are told so, and nothing is logged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from annotation_api.db.tables import Role
from tests.hostile.server import HOST, Server, Visitor


@pytest.mark.parametrize(("path", "made"), [("/v1/invitations/{}:accept", 201), ("/join/{}", 303)])
def test_one_address_in_eight_invitations(
    server: Server, visitor: Callable[[Role], Visitor], path: str, made: int
) -> None:
    with visitor(Role.ADMIN).client() as admin:
        tokens = [admin.post("/v1/invitations", json={"role": "annotator"}).json()["token"] for _ in range(8)]
    together, address = Barrier(8), f"same{made}@example.org"
    someone = {"email": address, "name": "Same", "password": "four plain words here"}

    def accept(token: str) -> int:
        with httpx.Client(base_url=f"http://{HOST}:{server.port}", timeout=30) as client:
            together.wait()
            sent = {"json": someone} if made == 201 else {"data": someone}
            return client.post(path.format(token), **sent).status_code  # type: ignore[arg-type]

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(accept, tokens))
    assert told == sorted([made] + [409] * 7)
    assert address not in server.log()
