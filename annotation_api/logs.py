"""What every process logs: one line a record on standard error, and no secret in it.

    logs.start("dispatcher")                       once, where a process begins
    with logs.about(request=request_id): ...       fields of every record inside, threads of the pool included

`RANKLOOP_LOG` chooses `json` or `text`; unset: text on a terminal, JSON elsewhere. The log of an attempt
is text unless it is set: people read it on the job, among the lines that Ray and the libraries print.
An attempt is named by `job` and `epoch`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from alignment.untrusted.texts import shown

Style = Literal["json", "text"]
VARIABLE = "RANKLOOP_LOG"
FIELDS = ("request", "person", "job", "epoch", "method", "route", "status", "milliseconds")  # also as `extra=`
HIDDEN = "***"
ADOPTED = ("uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings")  # loggers that bring handlers of their own
WORDY = {"alembic": logging.WARNING, "httpx": logging.WARNING, "uvicorn.access": logging.WARNING}

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), shown)
    for pattern, shown in (
        (r"(rl_[0-9A-Za-z]{1,16})_[\w-]+", rf"\1_{HIDDEN}"),  # API keys; the prefix tells them apart
        (r"(?i)\b(bearer\s+)[^\s\"',;]{8,}", rf"\1{HIDDEN}"),
        (r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?)(?!bearer)[^\"'\n]+", rf"\1{HIDDEN}"),
        # A database password may hold what a URL should have escaped; those of other URLs end at a slash.
        (r"(?i)(postgres\w*(?:\+\w+)?://[^\s:/@\"']*):[^\s\"']+@", rf"\1:{HIDDEN}@"),
        (r"(://[^\s:/@\"']*):[^\s/@\"']+@", rf"\1:{HIDDEN}@"),
        (r"(/|%2[fF])(setup|join)(/|%2[fF])[\w-]{8,}", rf"\1\2\3{HIDDEN}"),
        (r"(?i)\b((?:__host-)?rankloop)=[\w-]{8,}", rf"\1={HIDDEN}"),  # the cookie
        (
            r"(?i)((?:password|passwd|secret|api_key|auth_token|metrics_token)\w*[\"']?\s*[=:]\s*)"
            r"(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&)}\]]+)",
            rf"\1{HIDDEN}",
        ),
    )
)
# A token on its own: 43 characters of base64, which no word and no hash has. All others have one of these marks.
_TOKEN = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])")
_MARK = re.compile(r"(?i)rl_|bearer|authorization|://|%2f|/setup|/join|rankloop=|passw|secret|api_key|_token")

_process: dict[str, Any] = {}  # fields of every record of this process
_about: ContextVar[dict[str, Any] | None] = ContextVar("rankloop_log_fields", default=None)

_formatter = logging.Formatter()
_encode = json.JSONEncoder(ensure_ascii=False).encode
log = logging.getLogger("rankloop")


def redact(text: str) -> str:
    """`text` without passwords in URLs, API keys, bearer tokens, cookies, and tokens of links."""
    if _MARK.search(text):
        for pattern, shown in _SECRETS:
            text = pattern.sub(shown, text)
    return _TOKEN.sub(_hidden_token, text)


def _hidden_token(found: re.Match[str]) -> str:
    word = found[0]
    mixed = not word.islower() and not word.isupper() and any(letter.isdigit() for letter in word)
    return HIDDEN if mixed else word


def start(process: str, *, style: Style | None = None, level: int = logging.INFO, **fields: Any) -> None:
    """Send all that this process logs, its warnings and its last exception through one handler.

    `fields` stand in every record; `style` holds where RANKLOOP_LOG is unset. May be called again.
    """
    _process.clear()
    _process.update({"process": process} | {name: _plain(value) for name, value in fields.items()})
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if _chosen(style) == "json" else Text())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ADOPTED:
        adopted = logging.getLogger(name)
        adopted.handlers, adopted.propagate = [], True
    for name, least in WORDY.items():
        logging.getLogger(name).setLevel(least)
    sys.excepthook = _log_the_end
    threading.excepthook = lambda ended: _log_the_end(ended.exc_type, ended.exc_value, ended.exc_traceback)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Fields of every record inside, also in threads that inherit the context."""
    token = _about.set((_about.get() or {}) | {name: _plain(value) for name, value in fields.items()})
    try:
        yield
    finally:
        _about.reset(token)


def attempt(job: object, epoch: int) -> dict[str, Any]:
    """`extra=` of a record about an attempt, in a process that has to do with several."""
    return {"job": job, "epoch": epoch}


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(_encode(_entry(record)))  # in JSON these codes are the signs themselves


class Text(logging.Formatter):
    """For people: time, level, message, and the fields that the message may not name."""

    def format(self, record: logging.LogRecord) -> str:
        return as_text(_entry(record))


def as_text(entry: dict[str, Any]) -> str:
    """The line that `Text` writes, from the object that `JsonLines` writes.

    Lines that go on with it are indented, so that no text of a stranger's passes for a record.
    """
    known = " ".join(f"{name}={entry[name]}" for name in ("request", "job", "epoch", "person") if name in entry)
    line = f"{entry['time'][:19].replace('T', ' ')} {entry['level']} {entry['message']}"
    whole = line + (f"  [{known}]" if known else "") + (f"\n{entry['error']}" if "error" in entry else "")
    return shown(whole).replace("\n", "\n  ")


def readable(line: str) -> str:
    """A line of a log as people read it: a JSON record as text, anything else as it is."""
    if not line.startswith('{"time"'):
        return line
    try:
        return as_text(json.loads(line)) + "\n"
    except (ValueError, KeyError, TypeError):  # cut off, or another program's
        return line


def _entry(record: logging.LogRecord) -> dict[str, Any]:
    """The record's object; what anybody wrote in it is redacted."""
    entry: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "message": redact(record.getMessage()),
        **_process,
        "pid": record.process,
        **(_about.get() or {}),
        **{name: _plain(record.__dict__[name]) for name in FIELDS if record.__dict__.get(name) is not None},
    }
    if record.exc_info:
        entry["error"] = redact(_formatter.formatException(record.exc_info))
    return entry


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(value)


def _chosen(style: Style | None) -> str:
    """What RANKLOOP_LOG says, else `style`, else by where the lines go."""
    return os.environ.get(VARIABLE) or style or ("text" if sys.stderr.isatty() else "json")


def _log_the_end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """An exception that nobody caught, as a record; Ctrl-C and exit need no words."""
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        log.critical("Ended by an exception.", exc_info=(kind, error, trace))
