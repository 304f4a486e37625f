"""What processes log: one line a record, fields, and no secret, whatever is thrown at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextvars import copy_context

import pytest

from annotation_api import logs

TOKEN = "q9Zt3vXy_1bC-dE5fGhIjKlMnOpQrStUvWxYz0a2b4c"  # 43 characters, as secrets.token_urlsafe(32) gives
KEY = f"rl_0a1b2c3d_{TOKEN}"

# What may be logged, and the part that must not be seen.
CORPUS = [
    ("postgresql://rankloop:hush@db:5432/rankloop", "hush"),
    ("postgresql+psycopg://u:h%40sh/x@db/rankloop", "h%40sh"),
    ("cannot use postgres://me:p@ss/w:rd@10.0.0.1/x now", "p@ss/w:rd"),
    ("cannot use 'postgresql://me:hush@db/x' or 'postgresql://me:hush@db/y'", "hush"),
    ("proxy http://user:hush@proxy:3128/", "hush"),
    ("host=db user=me password=hush dbname=x", "hush"),
    ("host=db password='hu sh' dbname=x", "hu sh"),
    ("{'PGPASSWORD': 'hush', 'HOME': '/home/me'}", "hush"),
    ('{"password": "hush", "email": "a@example.org"}', "hush"),
    ("password=hush&email=a", "hush"),
    (f"Authorization: Bearer {KEY}", TOKEN),
    (f"headers: {{'authorization': 'Bearer {KEY}'}}", TOKEN),
    ("Authorization: Basic dXNlcjpodXNo", "dXNlcjpodXNo"),
    ("sent bearer scrape-token-of-16", "scrape-token-of-16"),
    (f"RANKLOOP_API_KEY={KEY}", TOKEN),
    (f"the key {KEY} is unknown", TOKEN),
    (f"GET /setup/{TOKEN} 200", TOKEN),
    (f"http://localhost:8000/join/{TOKEN}?lang=en", TOKEN),
    (f"next=%2Fsetup%2F{TOKEN}", TOKEN),
    (f"Cookie: __Host-rankloop={TOKEN}; other=1", TOKEN),
    (f"rankloop={TOKEN}", TOKEN),
    (f"no such session: {TOKEN}", TOKEN),
    ("RAY_AUTH_TOKEN=0123456789abcdef", "0123456789abcdef"),
    ("RANKLOOP_METRICS_TOKEN=0123456789abcdef", "0123456789abcdef"),
]
HARMLESS = [
    'Postgres at db:5432, database rankloop cannot be reached: FATAL: password authentication failed for user "me"',
    "Job 0b2f64a4-9d3e-4b7e-8a51-6b1c7f0e2d11, attempt 3: launcher 4711 started.",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0bc22cd15d6c15b0f00a08 differs",
    "http://127.0.0.1:8000/v1/jobs?after=a@b",
    "Setup of the tokenizer took 3 s; pad_token=<pad>",
]


@pytest.mark.parametrize(("text", "secret"), CORPUS)
def test_no_secret_is_left(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in logs.redact(text)
    assert logs.HIDDEN in logs.redact(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert logs.redact(text) == text


def test_a_key_keeps_its_prefix_so_that_people_can_tell_which_it_was() -> None:
    assert logs.redact(f"key {KEY}") == "key rl_0a1b2c3d_***"


def run(code: str, **environment: str) -> list[str]:
    """The lines that a process with this code writes to standard error."""
    clean = {name: value for name, value in os.environ.items() if name != logs.VARIABLE}
    code = "import logging, warnings, threading\nfrom annotation_api import logs\n" + code
    done = subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)
    return done.stderr.splitlines()


def test_a_record_is_one_json_line_with_its_fields() -> None:
    lines = run(
        "logs.start('launcher', job='j1', epoch=2)\n"
        "with logs.about(request='r1', person='p'):\n"
        "    logging.getLogger('a.b').warning('two\\nlines of %s', 'text', extra={'status': 503})\n"
    )
    entry = json.loads(lines[0])
    assert len(lines) == 1
    assert entry.pop("time").endswith("Z")
    assert entry.pop("pid") > 0
    assert entry == {
        "level": "WARNING", "logger": "a.b", "message": "two\nlines of text", "process": "launcher", "job": "j1",
        "epoch": 2, "request": "r1", "person": "p", "status": 503,
    }  # fmt: skip


def test_exceptions_warnings_and_the_last_exception_are_records_without_secrets() -> None:
    url = "postgresql://me:hush@db/x"
    lines = run(
        "logs.start('api')\n"
        f"try: raise ValueError('{url}')\n"
        "except ValueError: logging.getLogger('x').exception('failed for %s', {'password': 'hush'})\n"
        "warnings.warn('old password=hush')\n"
        f"thread = threading.Thread(target=lambda: open('{url}')); thread.start(); thread.join()\n"
        f"raise SystemError('{url}')\n"
    )
    entries = [json.loads(line) for line in lines]
    assert [entry["logger"] for entry in entries] == ["x", "py.warnings", "rankloop", "rankloop"]
    assert ["error" in entry for entry in entries] == [True, False, True, True]
    assert "SystemError" in entries[3]["error"]
    assert "hush" not in "\n".join(lines)


def test_the_variable_chooses_the_style() -> None:
    code = "logs.start('launcher', style='text', job='j1', epoch=2)\nlogging.info('Loaded.')\n"
    assert run(code)[0].endswith("INFO Loaded.  [job=j1 epoch=2]")
    assert json.loads(run(code, RANKLOOP_LOG="json")[0])["message"] == "Loaded."


def test_a_json_line_is_read_as_text_and_other_lines_as_they_are() -> None:
    line = run("logs.start('launcher', job='j1', epoch=2)\nlogging.error('Bad.')\n", RANKLOOP_LOG="json")[0]
    assert logs.readable(line + "\n").endswith("ERROR Bad.  [job=j1 epoch=2]\n")
    for other in ("(raylet) something\n", line[:40], '{"time": 3}\n', ""):
        assert logs.readable(other) == other


def test_fields_reach_threads_that_inherit_the_context_and_end_with_the_block() -> None:
    seen: list[object] = []
    with logs.about(request="r1"), logs.about(person="p1"):
        context = copy_context()
        thread = threading.Thread(target=lambda: seen.append(context.run(logs._about.get)))
        thread.start()
        thread.join()
    assert seen == [{"request": "r1", "person": "p1"}]
    assert logs._about.get() is None


HOSTILE = "a\\n2026-12-01 00:00:00 INFO forged\\x1b]0;owned\\x07\\x9b31m\\r\\u202e\\u2028\\udce9"


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("call", [f"error('%s', '{HOSTILE}')", f"exception('%s', KeyError('{HOSTILE}'))"])
def test_no_text_steers_the_terminal_or_passes_for_a_record(style: str, call: str) -> None:
    code = f"logs.start('api')\ntry: raise ValueError('{HOSTILE}')\nexcept ValueError: logging.{call}\n"
    lines = run(code, RANKLOOP_LOG=style)
    assert not set("\x1b\x07\x9b\r\u202e\u2028") & set("".join(lines))
    assert [line for line in lines if not line.startswith("  ")] == lines[:1]
    if style == "json":
        assert "a\n2026" in json.loads(lines[0])["message"].replace("\\n", "\n")
