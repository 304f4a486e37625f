"""Settings come from the environment or from files; a wrong one is one sentence and never shows a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from annotation_api.settings import Settings, SettingsError


def test_defaults_are_local() -> None:
    settings = Settings.from_environment({})
    assert settings.database_url is None
    assert settings.home == Path(".rankloop")
    assert settings.model_roots == (Path(".rankloop/models"), Path.cwd())
    assert settings.allowed_hosts == ()


def test_lists_are_split() -> None:
    roots = os.pathsep.join(("/models", "/data/models"))
    settings = Settings.from_environment(
        {"RANKLOOP_MODEL_ROOTS": roots, "RANKLOOP_ALLOWED_HOSTS": "rank.example.org, *.example.com"}
    )
    assert settings.model_roots == (Path("/models"), Path("/data/models"))
    assert settings.allowed_hosts == ("rank.example.org", "*.example.com")


def test_a_secret_comes_from_a_file_and_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://me:hunter2@db/rankloop\n")
    settings = Settings.from_environment({"RANKLOOP_DATABASE_URL_FILE": str(tmp_path / "url")})
    assert settings.database_url == "postgresql://me:hunter2@db/rankloop"
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RANKLOOP_DATABASE_URL": "mysql://me:hunter2@db/x"}, "RANKLOOP_DATABASE_URL cannot be used: it must look"),
        ({"RANKLOOP_DATABASE_URL_FILE": "/nowhere/url"}, "RANKLOOP_DATABASE_URL_FILE names /nowhere/url"),
        ({"RANKLOOP_HOME": "a", "RANKLOOP_HOME_FILE": "b"}, "RANKLOOP_HOME and RANKLOOP_HOME_FILE are both set"),
        ({"RANKLOOP_PUBLIC_URL": "rank.example.org"}, "RANKLOOP_PUBLIC_URL cannot be used: it must start with http"),
        ({"RANKLOOP_MAX_BODY_BYTES": "many"}, "RANKLOOP_MAX_BODY_BYTES cannot be used: Input should"),
    ],
)
def test_a_wrong_value_is_one_sentence(environment: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_child_reads_the_settings_that_its_parent_has(tmp_path: Path) -> None:
    """Also where the parent read a secret from a file, and whatever else stands in the environment."""
    secret = tmp_path / "url"
    secret.write_text("postgresql://a@h/x")
    environment = {
        "RANKLOOP_DATABASE_URL_FILE": str(secret),
        "RANKLOOP_ALLOWED_HOSTS": "a.example,b.example",
        "HOME": "/h",
    }
    settings = Settings.from_environment(environment)
    told = settings.to_environment(environment)
    assert Settings.from_environment(told) == settings
    assert told["HOME"] == "/h"
    alone = settings.model_copy(update={"database_url": None, "allowed_hosts": ()})
    assert Settings.from_environment(alone.to_environment(environment)) == alone
