"""What the health check of a dispatcher's container says."""

from __future__ import annotations

import pytest

from workers.dispatch import health


def test_an_address_that_cannot_be_read_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", "postgresql://u:abc%secret@127.0.0.1:1/x")
    assert health.main() == 1
    err = capsys.readouterr().err
    assert "RANKLOOP_DATABASE_URL cannot be read" in err
    assert "secret" not in err
