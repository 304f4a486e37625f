"""The leaderboard over HTTP, on the page and in the terminal."""

from __future__ import annotations

import uuid
from argparse import Namespace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt
from annotation_api.cli.client import Client, Credentials
from annotation_api.cli.commands import quality
from annotation_api.db import tasks
from annotation_api.db.form_rows import newest_form
from annotation_api.db.forms import RankingForm
from annotation_api.db.tables import ProjectMember, Role, Task


class Arena:
    """Tasks in which named models answer, judged by one person each."""

    def __init__(self, session: Session, make: Any) -> None:
        self.session, self.make, self.models = session, make, {}

    def model(self, name: str) -> uuid.UUID:
        if name not in self.models:
            self.models[name] = self.make.model(name=name).id
        return self.models[name]

    def play(
        self, project: Any, names: str, groups: list[list[int]], *, language: str = "en", texts: Any = None
    ) -> None:
        prompt = self.make.prompt(project, Prompt.from_text(uuid.uuid4().hex, language=language))
        form = newest_form(self.session, project.id)
        responses = [
            tasks.Response(prompt.id, (texts or {}).get(name, f"by {name}"), model_id=self.model(name))
            for name in names
        ]
        new = tasks.TaskToAdd(project.id, form.id, responses, overlap=1)
        tasks.add_tasks(self.session, [new])
        self.make.submission(self.session.get_one(Task, new.id), groups)


@pytest.fixture
def arena(session: Session, make: Any) -> Arena:
    return Arena(session, make)


def test_the_strongest_stands_first_with_its_games(as_: Any, make: Any, arena: Arena) -> None:
    project = make.project()
    for n in range(30):
        arena.play(project, "abc", [[0], [1, 2]] if n % 3 else [[1], [0], [2]])
    answer = as_(Role.REVIEWER).get("/v1/leaderboard")
    assert answer.status_code == 200, answer.text
    board = answer.json()
    assert [row["name"] for row in board["models"]] == ["a", "b", "c"]
    best = board["models"][0]
    assert (best["wins"], best["losses"], best["ties"], best["comparisons"]) == (50, 10, 0, 60)
    assert best["low"] < best["strength"] < best["high"]
    assert best["elo"] == pytest.approx(1000 + 173.7178 * best["strength"], abs=0.01)
    assert sum(row["strength"] for row in board["models"]) == pytest.approx(0, abs=1e-6)
    assert sorted(duel["ties"] for duel in board["duels"]) == [0, 0, 20]
    assert board["length"] is None


def test_criterion_language_project_and_length_choose_the_games(as_: Any, make: Any, arena: Arena) -> None:
    honest, plain = make.project(forms=[RankingForm(criterion="honest")]), make.project()
    longer = {"a": "a much longer answer than the other's", "b": "short"}
    for _ in range(12):
        arena.play(honest, "ab", [[0], [1]], language="zh", texts=longer)
        arena.play(plain, "ab", [[1], [0]])
    client = as_(Role.ENGINEER)

    def first(**query: Any) -> str:
        return str(client.get("/v1/leaderboard", params=query).json()["models"][0]["name"])

    board = client.get("/v1/leaderboard").json()
    assert (board["criteria"], board["languages"]) == (["honest"], ["en", "zh"])
    assert first(criterion="honest") == first(language="zh") == first(project=str(honest.id)) == "a"
    assert first(language="en") == first(project=str(plain.id)) == "b"
    controlled = client.get("/v1/leaderboard", params={"length": True}).json()
    assert controlled["length"]["value"] > 0
    assert client.get("/v1/leaderboard", params={"language": "fr"}).json()["models"] == []


def test_models_that_never_met_are_not_compared(as_: Any, make: Any, arena: Arena) -> None:
    project = make.project()
    for names in ("ab", "ab", "bc", "xy"):
        arena.play(project, names, [[0], [1]])
    board = as_(Role.ADMIN).get("/v1/leaderboard").json()
    assert [(row["name"], row["group"]) for row in board["models"]] == [
        ("a", 1), ("b", 1), ("c", 1), ("x", 2), ("y", 2),
    ]  # fmt: skip
    assert board["models"][0]["low"] is None  # too few tasks


def test_games_of_a_hidden_project_are_not_told(
    as_: Any, make: Any, person: Any, session: Session, arena: Arena
) -> None:
    project, engineer = make.project(open=False), person(Role.ENGINEER)
    arena.play(project, "ab", [[0], [1]])
    client = as_(engineer)
    assert client.get("/v1/leaderboard").json()["models"] == []
    session.add(ProjectMember(project_id=project.id, person_id=engineer.id))
    session.flush()
    assert len(client.get("/v1/leaderboard").json()["models"]) == 2


def test_the_page_and_the_command_show_it(
    as_: Any, browser_of: Any, make: Any, arena: Arena, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make.project(name="Arena")
    for _ in range(12):
        arena.play(project, "ab", [[0], [1]])
    browser = browser_of(Role.REVIEWER)
    page = browser.get("/leaderboard").text
    assert page.index(">a</a>") < page.index(">b</a>")
    assert 'href="/leaderboard"' in browser.get("/models").text
    assert browser.get(
        "/leaderboard", params={"project": "", "criterion": "", "language": "en", "length": "true"}
    ).is_success
    client = Client(Credentials("http://localhost", "key"))
    client.http = as_(Role.ENGINEER)
    asked = Namespace(project=project.name, criterion=None, language=None, length=False, json=False)
    assert quality.leaderboard(client, asked) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("a ")
