"""Settings come from the environment or from files; a wrong one is one sentence and never shows a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from annotation_api.settings import Settings, SettingsError
from annotation_api.worker_settings import WorkerSettings, remarks


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
        ({"RANKLOOP_MAX_BODY_BYTES": "many"}, "RANKLOOP_MAX_BODY_BYTES cannot be used: "),
        ({"RANKLOOP_RAY_ADDRESS": "head:99999"}, "RANKLOOP_RAY_ADDRESS cannot be used: 'head:99999' is neither"),
    ],
)
def test_a_wrong_value_is_one_sentence(environment: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("RANKLOOP_EXECUTOR", "proces"), ("RANKLOOP_SLOTS", "many"), ("RANKLOOP_MIRRORS", "comet")]
)
def test_a_wrong_value_is_told_with_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.from_environment({variable: value})
    assert str(caught.value).startswith(f"{variable} cannot be used: ")
    assert repr(value) in str(caught.value)


def test_a_secret_that_is_wrong_is_not_told() -> None:
    with pytest.raises(SettingsError, match="RANKLOOP_METRICS_TOKEN") as caught:
        Settings.from_environment({"RANKLOOP_METRICS_TOKEN": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_no_part_reads_is_remarked_upon() -> None:
    known = ("RANKLOOP_SLOTS", "RANKLOOP_API_KEY_FILE", "RANKLOOP_URL", "RANKLOOP_HOME", "PATH", "MY_RANKLOOP_X")
    assert remarks(known) == []
    assert remarks(["RANKLOOP_SLOT"]) == [
        "RANKLOOP_SLOT is set, but no setting is called so. Did you mean RANKLOOP_SLOTS?"
    ]
    plain = ("RANKLOOP_CRASH_POINT_FILE", "RANKLOOP_POSTGRES_BIN_FILE", "RANKLOOP_URL_FILE")
    assert [remark.partition(" is set, but")[0] for remark in remarks(plain)] == list(plain)
    assert remarks(["RANKLOOP_ZZZ"]) == ["RANKLOOP_ZZZ is set, but no setting is called so."]


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
