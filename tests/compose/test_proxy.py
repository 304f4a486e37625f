"""deploy/nginx.conf in front of the service in containers, set up as docs/deploy.md says."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compose.people import Running
from tests.support.engine_room import poll

WHY = "It needs nginx, and starts the service anew; a proxy's few lines seldom change."
pytestmark = [pytest.mark.postgres, pytest.mark.deep(reason=WHY), pytest.mark.timeout(900)]
NAME = "rank.example.org"


@pytest.fixture
def proxy(running: Running) -> Iterator[str]:
    """The service's address behind nginx, whose file is as it stands but for ports and places."""
    if not shutil.which("nginx"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nginx is not installed (apt-get install nginx-light).")
    running.docker.shell(running.lines["proxy"])
    running.stack.settle()
    with tempfile.TemporaryDirectory(prefix="rankloop-nginx-", dir="/tmp") as name:
        folder = Path(name)
        key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
        files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
        subprocess.run([*key, *files, "-addext", f"subjectAltName=DNS:{NAME}"], check=True, capture_output=True)
        port = free_port()
        text = (running.stack.project / "deploy" / "nginx.conf").read_text()
        for old, new in {
            "listen 443": f"listen 127.0.0.1:{port}",
            "listen 80": f"listen 127.0.0.1:{free_port()}",
            "/etc/ssl/rankloop": name,
            "http://127.0.0.1:8000": running.admin.url,
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        main = folder / "nginx.conf"
        main.write_text(f"daemon off;\npid {name}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n")
        server = subprocess.Popen(["nginx", "-e", f"{name}/error.log", "-c", str(main)])
        try:
            poll(lambda: listens(port), "nginx", (folder / "error.log").read_text, patience=20)
            yield f"https://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def people(proxy: str, address: str) -> httpx.Client:
    """Somebody who comes to the proxy from this address, and claims another one."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    headers = {"Host": NAME, "Origin": f"https://{NAME}", "X-Forwarded-For": "9.9.9.9"}
    transport = httpx.HTTPTransport(verify=unchecked, local_address=address)
    return httpx.Client(base_url=proxy, transport=transport, headers=headers, timeout=60)


def test_people_come_over_tls_and_each_is_known_by_an_address_of_their_own(running: Running, proxy: str) -> None:
    right = {"email": "root@example.org", "password": "correct horse battery"}
    with people(proxy, "127.0.0.2") as guesser, people(proxy, "127.0.0.3") as root:
        assert guesser.get("/readyz").json()["status"] in ("ok", "degraded")
        tries = [guesser.post("/v1/session", json=right | {"password": "wrong" * 4}).status_code for _ in range(6)]
        assert tries == [401] * 5 + [429]
        assert guesser.post("/v1/session", json=right).status_code == 429
        answer = root.post("/v1/session", json=right)
        assert answer.status_code == 204
        assert "Secure" in answer.headers["set-cookie"]
        big = ("w1 w2\n" * 300_000).encode()
        upload = root.post(
            "/v1/datasets", files={"file": ("a.jsonl", big)}, data={"kind": "prompts", "format": "jsonl"}
        )
        assert upload.status_code == 422, "read whole and refused for what is in it"
    with people(proxy, "127.0.0.4") as stranger:
        assert stranger.get("/", headers={"Host": "other.example.org"}).status_code in (301, 400)
