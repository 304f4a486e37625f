"""Schemathesis over the whole API, and random forms over the pages, as each of five roles, in one process.

    python -m tests.journey.fuzz_api [--minutes 10] [--seed 0]

Requests follow the OpenAPI document or break it on purpose; ids are often those of things that exist. Whatever
comes back must be no fault of ours (5xx), and status, content type, headers and body must be what the document
says. Prints each way in which an answer was wrong, and the counts; exits 1 if one was.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.app import create_app
from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import Role
from annotation_api.people import service
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from annotation_api.web.markup.rendering import HERE
from tests.support.databases import new_database
from tests.support.factory import Factory
from tests.support.permissions.world import World

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# It reads a stream as a list, where OpenAPI 3.1 knows a text; test_stream.py holds each event against its schema.
STREAM = "text/event-stream; charset=utf-8"
EITHER = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
REAL = st.booleans()  # whether the ids are those of things that exist
FIELD = re.compile(r'name="([\w.]+)"')
MANY = 1_000_000_000  # of everything that is limited in an hour


@dataclass
class Tally:
    """What was sent and what was wrong with the answers, each way once."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)


class Fuzz:
    """The app with a little of everything, and somebody of each role."""

    def __init__(self, engine: Engine, home: Path) -> None:
        quotas = {name: MANY for name in Settings.model_fields if name.endswith("_per_hour")}
        options = Settings(database_url="postgresql://given", home=home, allowed_hosts=(asgi.HOST,), **quotas)
        self.app: FastAPI = create_app(options, engine)
        self.tally = Tally()
        with Session(engine, expire_on_commit=False) as session:
            make = Factory(session)
            self.world = World(session, make, options)
            people = {role: make.person(role) for role in Role}
            self.owned = {role: self.world.own(person) for role, person in people.items()}
            keys = {role: service.add_api_key(session, people[role], NewApiKey(name="k"))[1] for role in Role}
            session.commit()
        self.keys: dict[Role | None, str | None] = {None: None} | keys
        self.schema = schemathesis.openapi.from_asgi("/openapi.json", self.app)
        self.operations = [found.ok() for found in self.schema.get_all_operations()]
        self.fields, self.words = field_names(), words(self.world)

    def run(self, examples: int, start: int) -> None:
        """So many requests of each kind to each operation and page; each role sends the same ones, one after another.

        They are drawn once: to draw one takes longer than to answer it.
        """
        cases = [
            values
            for number, operation in enumerate(self.operations)
            for mode in EITHER
            for values in drawn(examples, start + number, case=operation.as_strategy(generation_mode=mode), real=REAL)
        ]
        filled = st.dictionaries(st.sampled_from(self.fields), self.words, max_size=8)
        forms = [
            (method, path, values)
            for number, (method, path) in enumerate(page_routes(self.app))
            for values in drawn(2 * examples, start + number, fields=filled, real=REAL)
        ]
        for role, key in self.keys.items():
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            with asgi.get_client(self.app) as client:
                for values in cases:
                    self._operation(client, headers, role, values["case"].derive(), values["real"])
                for method, path, values in forms:
                    self._page(client, headers, role, method, path, **values)

    def _operation(self, client: Any, headers: dict[str, str], role: Role | None, case: Any, real: bool) -> None:
        if real and case.path_parameters:
            case.path_parameters = {**case.path_parameters, **self._ids(role, case.path)}
        answer = case.call(session=client, headers=headers)
        checks = CHECKS[:-1] if answer.headers.get("content-type") == [STREAM] else CHECKS
        label = case.operation.label
        self._judge(label, role, answer.status_code, lambda: case.validate_response(answer, checks=checks))

    def _ids(self, role: Role | None, path: str) -> dict[str, str]:
        owned = self.owned[role] if role else self.world.other
        names = re.findall(r"\{(\w+)\}", path)
        found = self.world.ids(path, owned)
        if path.endswith("/artifacts/{name}"):
            found["name"] = found["name:path"]
        return {name: found[name] for name in names if name in found}

    def _page(self, client: Any, headers: dict[str, str], role: Role | None, method: str, path: str,
              fields: Mapping[str, str], real: bool) -> None:  # fmt: skip
        """A form with fields of the templates, or an address with parameters, all with random values."""
        ids = self._ids(role, path) if real else {}
        filled = re.sub(r"\{([^}]+)\}", lambda found: ids.get(found[1]) or str(uuid.uuid4()), path)
        where = {"params": fields} if method == "GET" else {"data": fields}
        answer = client.request(
            method, filled, headers=headers | {"Accept": "text/html"}, allow_redirects=False, **where
        )
        self._judge(f"{method} {path} {fields}", role, answer.status_code, lambda: None)

    def _judge(self, what: str, role: Role | None, status: int, validate: Callable[[], None]) -> None:
        self.tally.sent[str(role)] += 1
        self.tally.statuses[status] += 1
        try:
            validate()
            assert status < 500 or (status == 503 and "readyz" in what), f"a fault of ours: {status}"
        except (AssertionError, schemathesis.core.failures.FailureGroup) as failure:
            causes = getattr(failure, "exceptions", [failure])
            for cause in causes:
                kind = f"{what.split(' {')[0]}: {type(cause).__name__}: {status}"
                self.tally.wrong.setdefault(kind, f"as {role or 'nobody'}, {what}: {str(failure)[:1500]}")


def drawn(examples: int, start: int, **strategies: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
    """So many values of each strategy. Hypothesis is their source, no more: what is wrong with an answer is written
    down, so nothing is shrunk or repeated."""
    found: list[dict[str, Any]] = []

    @seed(start)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(**strategies)
    def keep(**values: Any) -> None:
        found.append(values)

    with suppress(Unsatisfiable):  # an operation without parameters has none to break
        keep()
    return found


def page_routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """What is not in the document: the HTML pages."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute) and not context.include_in_schema:
            yield from ((method, str(context.path)) for method in sorted(context.methods or ()))


def field_names() -> list[str]:
    """Every name of a field in the templates."""
    found = {name for path in (HERE / "templates").glob("*.html") for name in FIELD.findall(path.read_text("utf-8"))}
    return sorted(found | {"assignment", "submission", "besides", "before", "after", "q", "person", "project", "token"})


def words(world: World) -> st.SearchStrategy[str]:
    """Values of fields: ids that exist, numbers at the edges, and any text."""
    ids = [*world.ids("", world.other).values(), f"dataset:{world.dataset.id}"]
    edges = [
        "",
        "yes",
        "true",
        "-1",
        "0",
        "1",
        "99999999999999999999",
        "1e309",
        "nan",
        "a\0b",
        "../../etc/passwd",
        "ranking",
    ]
    return st.sampled_from([*ids, *edges]) | st.text(max_size=20)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--examples", type=int, default=20, help="of each kind, for an operation and role, in a round")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rankloop-fuzz-", dir="/tmp") as folder:
        home = Path(folder)
        home.chmod(0o755)
        with EmbeddedPostgres(home) as server:
            tally = _rounds(options, server.url, home)
    for kind, example in tally.wrong.items():
        print(f"{kind}\n  {example}")
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(tally.statuses.items()))
    print(f"{tally.sent.total()} requests, {len(tally.wrong)} ways to be wrong ({statuses}); seed {options.seed}")
    return 1 if tally.wrong else 0


def _rounds(options: argparse.Namespace, server: str, home: Path) -> Tally:
    """Rounds, each in a fresh database, until the time is up."""
    total, end, number = Tally(), time.monotonic() + 60 * options.minutes, 0
    while number == 0 or time.monotonic() < end:
        with new_database(server) as url:
            upgrade(url)
            engine = make_engine(url)
            fuzz = Fuzz(engine, home)
            fuzz.run(options.examples, options.seed + 1_000_003 * number)
            engine.dispose()
        total.sent += fuzz.tally.sent
        total.statuses += fuzz.tally.statuses
        total.wrong = {**fuzz.tally.wrong, **total.wrong}
        number += 1
        print(f"round {number}: {total.sent.total()} requests, {len(total.wrong)} wrong", file=sys.stderr)
    return total


if __name__ == "__main__":
    sys.exit(main())
