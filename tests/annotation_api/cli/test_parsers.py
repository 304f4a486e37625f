"""Where the service listens, as the command line takes it."""

from __future__ import annotations

import pytest

from annotation_api.cli import main
from annotation_api.cli.command_line import _parser


@pytest.mark.parametrize("port", ["99999", "-1", "65536", "8000.5", "http", "", "9" * 5000, "８０"])
@pytest.mark.parametrize("command", [("up",), ("serve", "api")])
def test_a_port_that_is_none_is_a_sentence(
    command: tuple[str, ...], port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, f"--port={port}"])
    assert ended.value.code == 2
    assert "is no port; write a number from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["", "a b", "http://here", "here:80", "a" * 64, "here/x", "a..", "[::1]"])
def test_a_host_that_is_none_is_a_sentence(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["up", f"--host={host}"])
    assert "is no host; write a name or an address alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "my-host.example.org."]
)
def test_names_and_addresses_are_hosts(host: str) -> None:
    args = _parser().parse_args(["up", "--host", host, "--port", "65535"])
    assert (args.host, args.port) == (host, 65535)
