"""A small team at work, for looking at every page: all three kinds of feedback, data, a running job, a model."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.records import Message, Prompt, Ranking
from annotation_api.db.forms import Condition, Option, Question, QuestionsForm, RankingForm, Rule, RulesForm
from annotation_api.db.tables import (
    AssignmentState,
    DatasetKind,
    Draft,
    FeedbackKind,
    Freeze,
    Person,
    Role,
    Snapshot,
    SnapshotRow,
)
from annotation_api.http import auth
from annotation_api.people import keys, service
from annotation_api.people.schemas import NewApiKey
from tests.support.scenes import erased as scene_erased
from tests.support.scenes import review as scene_review
from tests.support.scenes import runs as scene_runs

GUIDELINES = """Rank by how **helpful** the answer is.

1. Does it answer what was asked?
2. Is it true? Check figures such as $3.2 \\times 10^{-4}$.
3. Is it *short enough*?

A tie is fine when you would not mind which of the two you got."""

RICH = """Use a **binary search**: halve the interval until one item is left.

```python
def find(items, wanted):
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2  # never overflows here
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low
```

It takes $\\lceil \\log_2 n \\rceil$ steps:

| n | steps |
|--:|--:|
| 1,000 | 10 |
| 1,000,000 | 20 |

$$\\sum_{k=1}^{n} \\frac{1}{k} \\approx \\ln n + \\gamma$$

> Source: [a textbook](https://textbook.example/search) ![figure](https://evil.example/pixel.png)"""

ANSWERS = (
    RICH,
    "Look at every item from the first to the last. It is slow for long lists, but it always works.",
    "二分查找：每次把区间分成两半，直到只剩一个元素。时间复杂度为 $O(\\log n)$。",
    "استخدم البحث الثنائي: قسّم القائمة إلى نصفين في كل خطوة. مثال: `find(items, 7)`",
)
QUESTIONS = QuestionsForm(
    instruction="Read the answer once before you begin.",
    questions=(
        Question(
            id="overall",
            text="How good is the answer, all in all?",
            kind="scale",
            least=1,
            most=7,
            least_label="useless",
            most_label="perfect",
        ),
        Question(id="true", text="Is everything in it true?", kind="yes_no"),
        Question(
            id="what",
            text="What is not true?",
            kind="text",
            required=False,
            when=Condition(question="true", answers=(False,)),
        ),
        Question(
            id="tone",
            text="What is its tone?",
            kind="choice",
            options=(Option(id="kind", text="Kind"), Option(id="plain", text="Plain"), Option(id="rude", text="Rude")),
        ),
    ),
)
PAIR = QUESTIONS.model_copy(update={"about": "pair"})
RULES = (
    Rule(id="no_threat", text="Make no threats.", explanation="Also none in jest."),
    Rule(id="no_medicine", text="Give no medical advice.", explanation="Naming a doctor to ask is fine."),
    Rule(id="no_person", text="Do not pretend to be a person."),
)


@dataclass(frozen=True)
class Place:
    """A page to look at: its route, its address, and who looks."""

    name: str
    route: str
    path: str
    who: str | None = "admin"  # None: nobody signed in


@dataclass
class Scene:
    """What was filled in: `tokens` of sessions by role, and where the pages stand."""

    tokens: dict[str, str]
    places: list[Place]


def fill(session: Session, make: Any) -> Scene:
    """Write the scene (the caller commits)."""
    admin = make.person(Role.ADMIN, name="Ada Adminson", email="ada@example.org", pseudonym="person-7f3a")
    ann = make.person(Role.ANNOTATOR, name="Ann Notator", email="ann@example.org", pseudonym="person-b2c4")
    make.person(Role.REVIEWER, name="吴晓明", email="wu@example.org", pseudonym="person-90de")
    make.person(Role.ANNOTATOR, name="Former Person", email="former@example.org", active=False)
    make.person(Role.ANNOTATOR, name="Nobody Yet", email="nobody@example.org")
    token, _ = service.invite(session, Role.REVIEWER)
    service.add_api_key(session, admin, NewApiKey(name="laptop"))
    key, _ = service.add_api_key(session, admin, NewApiKey(name="old laptop"))
    keys.revoke(session, admin, key.id)
    ranking, questions, pair, rules = _projects(make, admin)
    answered = _work(session, make, ann, ranking)
    reviewed = scene_review.pages(ranking, scene_review.fill(session, make, ranking, admin))
    dataset, snapshot = _data(session, make, ranking)
    runs = scene_runs.fill(session, make, snapshot)
    tokens = {role: auth.start_session(session, person) for role, person in (("admin", admin), ("annotator", ann))}
    empty = make.project(admin, name="An empty project")
    at = {"project_id": ranking.id, "person_id": ann.id, "model_id": runs.model.id, "pipeline_id": runs.pipeline.id}
    at["task_id"] = make.task(make.prompt(ranking, "What is a monad?"), ANSWERS[:2]).id
    at |= {"dataset_id": dataset.id, "snapshot_id": snapshot.id, "token": token}
    at["freeze_id"] = _freeze(session, ranking, admin)
    at["reset"], _ = service.begin_reset(session, ann)
    jobs = {"job": runs.running, "job-waiting": runs.waiting, "job-failed": runs.failed, "job-done": runs.done}
    runs_places = [Place(name, "/jobs/{job_id}", f"/jobs/{job.id}") for name, job in jobs.items()]
    beside = f"?job={runs.failed.id}&job={runs.running.id}"
    runs_places += [
        Place("new-job", "/jobs/new", "/jobs/new?stage=ppo&preset=toy"),
        Place("again", "/jobs/{job_id}/again", f"/jobs/{runs.failed.id}/again"),
        Place("compare", "/compare", "/compare"),
        Place("compare-jobs", "/compare", f"/compare{beside}"),
        Place("compare-models", "/compare", f"/compare?model={runs.model.id}&model={runs.other.id}"),
    ]
    desk = _desk_places(ranking, questions, pair, rules, empty, answered)
    reviewed += scene_erased.fill(session, ranking, admin, at["task_id"])
    return Scene(tokens, [*_plain_places(at), *runs_places, *desk, *(Place(*page) for page in reviewed)])


def _freeze(session: Session, project: Any, who: Person) -> uuid.UUID:
    """A large freeze that is on its way."""
    row = Freeze(
        kind=DatasetKind.RANKINGS, source={"project": str(project.id)}, done=4000, total=12000, created_by=who.id
    )
    session.add(row)
    session.flush()
    return row.id


def _projects(make: Any, admin: Person) -> tuple[Any, Any, Any, Any]:
    form = RankingForm(ratings="optional", rules=RULES, instruction="Which answer would *you* like to get?")
    ranking = make.project(admin, name="Helpful answers", guidelines=GUIDELINES, overlap=2, forms=[form])
    questions = make.project(admin, name="Questions on an answer", forms=[QUESTIONS])
    pair = make.project(admin, name="Questions on a pair", forms=[PAIR])
    rules = make.project(admin, name="Rules of the house", forms=[RulesForm(rules=RULES)])
    asked = Prompt(
        messages=(
            Message(role="system", content="You are a patient teacher."),
            Message(role="user", content="How do I find an item in a **sorted** list?"),
            Message(role="assistant", content="In which language?"),
            Message(role="user", content="Python, please. 请也用中文解释。"),
        )
    )
    for number in range(3):
        make.task(
            make.prompt(ranking, asked if not number else f"Question {number}?"),
            ANSWERS,
            overlap=2,
            priority=9 - number,
        )
    make.task(make.prompt(questions, asked), ANSWERS[:1], kind=FeedbackKind.QUESTIONS)
    make.task(make.prompt(pair, asked), ANSWERS[:2], kind=FeedbackKind.QUESTIONS)
    make.task(make.prompt(rules, asked), ANSWERS[1:2], kind=FeedbackKind.RULES)
    return ranking, questions, pair, rules


def _work(session: Session, make: Any, ann: Person, project: Any) -> Any:
    """A fortnight of answers, one corrected, one begun."""
    now = datetime.now(UTC)
    rows = []
    for day in range(14, -1, -1):
        for number in range(1 + day % 3):
            task = make.task(make.prompt(project, f"What is {day} plus {number}?"), ("four", "five"))
            seconds = 20 + 3 * day + 7 * number
            when = now - timedelta(days=day, minutes=number)
            rows.append(make.submission(task, [[0], [1]], ann, active_ms=1000 * seconds, created_at=when))
    make.submission(
        make.task(make.prompt(project, "ما عاصمة فرنسا؟"), ("باريس", "لندن")), [[0], [1]], ann, active_ms=9000
    )
    last = rows[-1]
    ids = [key for group in last.payload["groups"] for key in group]
    payload = {"groups": [ids], "note": "Both are fine."}
    corrected = make.submission(
        make.task(make.prompt(project, "unused")),
        [[0], [1]],
        assignment_id=last.assignment_id,
        supersedes=last.id,
        payload=payload,
    )
    begun = make.assignment(
        make.task(make.prompt(project, "Which is the better poem?"), ("This one.", "That one."), overlap=1),
        ann,
        state=AssignmentState.LEASED,
        lease_until=now + timedelta(minutes=5),
    )
    session.add(Draft(assignment_id=begun.id, payload={}))
    session.flush()
    return corrected


def _data(session: Session, make: Any, project: Any) -> tuple[Any, Any]:
    prompt = Prompt.from_text("What is 2 + 2?")
    rankings = [Ranking(prompt=prompt, responses=(f"four ({n})", "five"), groups=((0,), (1,))) for n in range(30)]
    dataset = make.dataset(DatasetKind.RANKINGS, rankings)
    sources = {"project": str(project.id)}
    snapshot = Snapshot(
        kind=DatasetKind.RANKINGS, sources=sources, sha256="5e" * 32, rows=3, created_by=project.created_by
    )
    session.add(snapshot)
    session.flush()
    for position, record in enumerate(rankings[:3]):
        session.add(
            SnapshotRow(
                snapshot_id=snapshot.id,
                position=position,
                line=record.canonical(),
                dataset_id=dataset.id,
                dataset_row=position + 1,
            )
        )
    session.flush()
    return dataset, snapshot


def _plain_places(at: dict[str, Any]) -> list[Place]:
    """The pages whose route says it all."""

    def place(name: str, route: str, who: str | None = "admin") -> Place:
        return Place(name, route, route.format_map(at), who)

    return [
        place("sign-in", "/login", None),
        place("join", "/join/{token}", None),
        place("set-up", "/setup/{token}", None),
        Place("bad-link", "/join/{token}", "/join/unknown", None),
        place("home-admin", "/"),
        place("home-annotator", "/", "annotator"),
        place("account", "/account"),
        place("second-factor", "/account/second-factor"),
        Place("reset", "/reset/{token}", f"/reset/{at['reset']}", None),
        place("keys", "/keys"),
        place("mine", "/mine", "annotator"),
        place("people", "/people"),
        place("audit", "/audit"),
        place("person", "/people/{person_id}"),
        place("erase", "/people/{person_id}/erase"),
        place("project-new", "/projects/new"),
        place("project-edit", "/projects/{project_id}/edit"),
        place("project-admin", "/projects/{project_id}"),
        place("project-annotator", "/projects/{project_id}", "annotator"),
        place("tasks", "/projects/{project_id}/tasks"),
        place("task", "/projects/{project_id}/tasks/{task_id}"),
        place("members", "/projects/{project_id}/members"),
        place("datasets", "/datasets"),
        place("dataset", "/datasets/{dataset_id}"),
        place("snapshots", "/snapshots"),
        place("snapshot", "/snapshots/{snapshot_id}"),
        place("freeze", "/freezes/{freeze_id}"),
        place("agreement", "/projects/{project_id}/agreement"),
        place("leaderboard", "/leaderboard"),
        place("jobs", "/jobs"),
        place("pipelines", "/pipelines"),
        place("pipeline", "/pipelines/{pipeline_id}"),
        place("new-pipeline", "/pipelines/new"),
        place("register-model", "/models/new"),
        place("models", "/models"),
        place("model", "/models/{model_id}"),
        Place("forbidden", "/people", "/people", "annotator"),
    ]


def _desk_places(ranking: Any, questions: Any, pair: Any, rules: Any, empty: Any, answered: Any) -> list[Place]:
    route = "/projects/{project_id}/annotate"
    desks = {"ranking": ranking, "questions": questions, "pair": pair, "rules": rules, "nothing-left": empty}
    places = [Place(name, route, f"/projects/{project.id}/annotate", "admin") for name, project in desks.items()]
    correct = f"/projects/{ranking.id}/correct?submission={answered.id}"
    return [*places, Place("correct", "/projects/{project_id}/correct", correct, "annotator")]
