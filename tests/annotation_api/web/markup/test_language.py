"""Every sentence of the pages stands in both languages, and the page speaks the one that was chosen."""

from __future__ import annotations

import ast
import json
import pickle
import re
import typing
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import core_schema
from starlette.requests import Request

from alignment.reward import notes
from alignment.shared.sentence import Sentence, packed, unpacked
from alignment.shared.validation import PYDANTICS, Problem, explain
from annotation_api.db.jobs.records import Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import DatasetKind, FeedbackKind, JobState, ModelKind, Person, Role
from annotation_api.http.errors import DATABASE_PROBLEMS, not_found
from annotation_api.jobs.curves import FIVE, GROUPS
from annotation_api.web.markup import language
from annotation_api.web.markup.language import (
    LOCALES,
    asked_for,
    language_of,
    metric,
    speaking,
    translate,
    why_it_ended,
    words,
)
from annotation_api.web.projects import form_builder
from annotation_api.web.review.said import in_short
from tests.support import house

WEB = LOCALES.parent
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
SENTENCE = re.compile(r'\b_\(\s*"((?:[^"\\]|\\.)*)"')
BLANK = re.compile(r"%\((\w+)\)s")
JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
NAMES = {"Rankloop", "UTC", "SFT", "PPO", "GPU", "JSONL", "Parquet", "CSV", "TRL"}  # the same in every language
SILENT = ("code", "kbd", "script", "style")
SHOWN = ("alt", "aria-label", "placeholder", "title")


def sentences() -> dict[str, str]:
    """Every sentence in `_("...")` and where it stands."""
    files = [*TEMPLATES, *WEB.rglob("*.py")]
    return {found: path.name for path in files for found in SENTENCE.findall(path.read_text("utf-8"))}


def test_every_sentence_has_its_chinese() -> None:
    missing = [f"{place}: {sentence}" for sentence, place in sentences().items() if sentence not in words("zh")]
    assert missing == [], "add these to annotation_api/web/locales/zh.<part>.json"


def test_the_chinese_has_the_same_blanks() -> None:
    wrong = [key for key, text in words("zh").items() if set(BLANK.findall(key)) != set(BLANK.findall(text))]
    assert wrong == []


def test_no_sentence_has_two_translations() -> None:
    """The catalogues are merged: the last file would win in silence."""
    seen: dict[str, str] = {}
    clashes = []
    for path in sorted(LOCALES.glob("zh*.json")):
        for key, text in json.loads(path.read_text("utf-8")).items():
            if seen.setdefault(key, text) != text:
                clashes.append(f"{path.name}: {key}: {seen[key]} / {text}")
    assert clashes == []


def test_words_of_the_database_are_translated() -> None:
    kinds = (Role, FeedbackKind, JobState, ModelKind, DatasetKind)
    assert [member.value for kind in kinds for member in kind if member.value not in words("zh")] == []
    assert [kind.value for kind in ErrorKind if kind.value.replace("_", " ") not in words("zh")] == []


SAID = json.loads((LOCALES / "said.zh.json").read_text("utf-8"))


def test_every_metric_that_has_a_place_has_its_chinese() -> None:
    placed = {name for charts in GROUPS.values() for names in charts for name in names}
    placed |= {name for names in FIVE.values() for name in names}
    with speaking("zh"):
        assert [name for name in placed if metric(name) == name.replace("_", " ")] == []
        assert (metric("heldout accuracy"), metric("its_own_name")) == ("留出集准确率", "its own name")
    with speaking("en"):
        assert metric("heldout_accuracy") == "heldout accuracy"


MAKE = ("Sentence", "counted")


def said_in_code() -> Iterator[tuple[str, set[str]]]:
    """The code of every Sentence that the code makes, with the names of its values."""
    for path in house.files(*house.PACKAGES):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKE:
                code, values = node.args[0], {str(keyword.arg) for keyword in node.keywords}
                if isinstance(code, ast.Constant):
                    yield str(code.value), values
    yield from ((code, set(BLANK.findall(english))) for _, code, english in form_builder.BOUNDS.values())
    yield from ((f"input-{kind}", set(values)) for kind, values in PYDANTICS.items())
    yield from ((said.code, set(said.values)) for _, said in DATABASE_PROBLEMS.values())
    of_rows = notes.of(dict.fromkeys(notes.SAID, 1), 2)
    yield from ((said.code, set(said.values)) for said in of_rows)


def test_every_sentence_of_a_service_is_in_the_catalogue_by_its_code() -> None:
    made = dict(said_in_code())
    assert set(made) == set(SAID)
    assert [code for code, values in said_in_code() if set(BLANK.findall(SAID[code])) - values] == []


def test_each_thing_that_may_not_be_found_is_a_word_of_the_pages() -> None:
    calls = (node for path in house.files(*house.PACKAGES) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    things = {
        call.args[0].value
        for call in calls
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "not_found"
        if isinstance(call.args[0], ast.Constant)
    }
    assert len(things) > 20
    assert things - words("zh").keys() == set()
    with speaking("zh"):
        assert translate(not_found("gold item", 7).detail) == "找不到：标准题 7"


def test_a_stage_and_a_criterion_are_called_as_the_pages_call_them() -> None:
    english = "%(stage)s: %(message)s"
    wrong = Sentence("stage-and-message", english, stage="reward", message=Sentence("no-such-order", "No order."))
    payload = {"groups": [["1"], ["2"]], "apart": {"honest": [["2"], ["1"]], "harmless": [["1", "2"]]}}
    order = in_short(payload, {"1": "A", "2": "B"})
    with speaking("zh"):
        assert translate(wrong).startswith("奖励模型：")
        assert translate(order) == "A › B · 诚实：B › A · 无害：A = B"
    with speaking("en"):
        assert (translate(wrong), translate(order)) == (
            "reward: No order.",
            "A › B · honest: B › A · harmless: A = B",
        )


# Whose words reach a person on a page, by a class that is raised or returned.
SPOKEN = re.compile(
    r"ApiError|Problem|TransitionRefused|JobError|Refused|Unreadable|StageError|BadInput|DiskFull|Diverged|Damaged"
    r"|PeersLost|AttemptError|Fault|Failure|TemplateRefuses|bad|_bad|_wrong|_unusable"
    r"|note|Note|Waiting|Diagnosis|UnsafeModel|FamilyRefusal|_broken"
)
# Who gives such words back as they are: the reasons of the gate, of a dry run, and what limits a comparison.
REASONS = re.compile(r"\w*_problem|refusals|mostly_length|_below_ceiling|_gain|_notes")
SETTINGS = ("settings.py", "config.py", "instruct.py", "prepare.py")
NOT_WORDS = ("objects", "headers", "pointer")
INSIDE = (
    "__main__.py",
    "cli",
    "operations",
    "demo",
    "processes",
    "postgres",
    "toyworld",
)  # speak to a terminal, in English


def bare_words(node: ast.expr) -> Iterator[str]:
    """English in an argument that no Sentence holds."""
    match node:
        case ast.JoinedStr(values=parts) if any(
            " " in getattr(part, "value", "") for part in parts if isinstance(part, ast.Constant)
        ):
            yield ast.unparse(node)
        case ast.Constant(value=str() as text) if " " in text:
            yield text
        case ast.BinOp() | ast.IfExp() | ast.BoolOp() | ast.Tuple() | ast.List():
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.expr):
                    yield from bare_words(part)


def spoken(path: Path) -> Iterator[str]:
    """Bare words in a refusal or a cause, or in what becomes one: `cause = "..."`."""
    settings = "schemas" in path.name or ("alignment" in path.parts and path.name.endswith(SETTINGS))
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        words: list[ast.expr] = []
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                if SPOKEN.fullmatch(name) or (name == "ValueError" and settings):
                    words = [*node.args, *(word.value for word in node.keywords if word.arg not in NOT_WORDS)]
            case ast.Assign(targets=[ast.Name(id="cause" | "next_step")], value=value):
                words = [value]
            case ast.FunctionDef(name=name) if REASONS.fullmatch(name):
                given = [each.value for each in ast.walk(node) if isinstance(each, ast.Return | ast.Yield)]
                words = [word for word in given if word is not None]
        yield from (f"{path}:{node.lineno}: {text}" for word in words for text in bare_words(word))


def test_no_sentence_that_reaches_a_person_lacks_its_code() -> None:
    found = [
        text for path in house.files(*house.PACKAGES) if not set(path.parts) & set(INSIDE) for text in spoken(path)
    ]
    assert found == []


def test_what_a_service_says_is_retold_with_its_values() -> None:
    wait = Sentence("seconds", "%(n)s seconds", n=5)
    said = Sentence("too-many-tries", "Too many wrong tries from here. Try again in %(wait)s.", wait=wait)
    assert said == "Too many wrong tries from here. Try again in 5 seconds."
    problem = Problem(pointer="/x", message=said)
    assert problem.model_dump()["message"] == said
    for kept in (said, problem.message, pickle.loads(pickle.dumps(said)), unpacked(packed(wait)), Sentence("new", "x")):
        with speaking("en"):
            assert translate(kept) == str(kept)
    with speaking("zh"):
        assert (
            translate(problem.message) == translate(pickle.loads(pickle.dumps(said))) == "错误次数过多，请 5 秒后再试。"
        )
        assert translate(unpacked(packed(wait))) == "5 秒"
        assert translate(Sentence("new", "x")) == "x", "one without its Chinese"
    assert [unpacked(text) for text in ("plain", "7", "[1]", "{}", packed("plain"))] == [
        "plain",
        "7",
        "[1]",
        "{}",
        "plain",
    ]


@pytest.mark.parametrize(
    "typed",
    [
        '{"said": "wait-seconds", "english": "x", "values": {}}',  # a catalogue's text without what it wants
        '{"said": ["x"], "english": "x", "values": {}}',
        '{"said": "paused", "english": "Forged.", "values": {"a": {"said": 5, "english": "", "values": {}}}}',
        "[" * 1000,
        "100 % sure: %(who)s",
    ],
)
def test_what_somebody_typed_is_no_sentence_of_a_service(typed: str) -> None:
    with speaking("zh"):
        assert translate(unpacked(packed(typed))) == typed
        assert translate(unpacked(packed(unpacked(packed(typed))))) == typed
        assert translate(unpacked(typed)) in (typed, "x", "Forged.")  # stored as it is, by a version before


def test_why_a_job_ended_is_retold_from_what_is_stored() -> None:
    died = Sentence("stage-process-died", "The process that ran the stage died.")
    cause = Sentence(
        "last-attempt",
        "%(cause)s That was the last of %(max_attempts)s attempts in a row that got no further.",
        cause=died,
        max_attempts=3,
    )
    failure = Failure(ErrorKind.CRASH, cause, Sentence("retry-the-job", "Then retry the job."))
    stored = json.loads(json.dumps(failure.as_json()))
    assert stored["cause"] == str(cause)
    with speaking("zh"):
        assert why_it_ended(stored) == (
            "运行该阶段的进程已终止。这是连续 3 次没有进展的尝试中的最后一次。",
            "然后重试此作业。",
        )
        assert why_it_ended({"kind": "crash", "cause": "As it was."}) == ("As it was.", "")
    with speaking("en"):
        assert why_it_ended(stored) == (str(cause), "Then retry the job.")


class Shaped(BaseModel, extra="forbid"):
    """Something with a bound and a rule of its own."""

    rows: int = Field(ge=1)
    kind: str = ""

    @model_validator(mode="after")
    def _known(self) -> Shaped:
        if self.kind == "none":
            raise ValueError(Sentence("nothing-to-erase", "This address names nothing to erase: %(msg)s.", msg="none"))
        return self


@pytest.mark.parametrize(
    ("given", "english", "chinese"),
    [
        ({"rows": 0}, "Input should be greater than or equal to 1", "应不小于 1"),
        ({}, "Field required", "缺少此项"),
        ({"rows": 1, "kinds": 1}, "Unknown key 'kinds'. Did you mean 'kind'?", "未知的键 'kinds'。您是否想写 'kind'？"),
        (
            {"rows": 1, "kind": "none"},
            "This address names nothing to erase: none.",
            "此地址没有指明可删除的内容：none。",
        ),
    ],
)
def test_what_a_validator_says_has_a_code(given: dict[str, Any], english: str, chinese: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Shaped.model_validate(given)
    (problem,) = explain(refused.value, Shaped)
    assert problem.message == english
    with speaking("zh"):
        assert translate(problem.message) == chinese


def test_every_kind_of_pydantics_that_has_a_code_is_one() -> None:
    assert set(PYDANTICS) <= set(typing.get_args(core_schema.ErrorType))


class Bare(HTMLParser):
    """Text and spoken attributes that no `_` translates."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.silent = 0
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.silent += tag in SILENT
        self._note(*(value or "" for name, value in attributes if name in SHOWN))

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in SILENT

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self._note(data)

    def _note(self, *texts: str) -> None:
        for text in texts:
            self.found += [word for word in re.findall(r"[A-Za-z]{2,}", text) if word not in NAMES]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_english_stands_outside_the_catalogue(path: Path) -> None:
    source = path.read_text("utf-8")
    assert Bare(JINJA.sub("", source)).found == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_expressions_hold_no_english_either(path: Path) -> None:
    """`{{ "Stopping" if ... }}` would pass the text nodes by."""
    bare = []
    for expression in re.findall(r"\{\{.*?\}\}", path.read_text("utf-8"), re.DOTALL):
        rest = SENTENCE.sub("", expression)
        rest = re.sub(r'"<code>.*?</code>"|"[^"]*=\\?"[^"]*', "", rest)
        bare += [word for word in re.findall(r'"[^"]*?\b([A-Z][a-z]+ ?[a-z ]*)"', rest) if word not in NAMES]
    assert bare == []


@pytest.mark.parametrize("path", sorted((WEB / "static").glob("*.js")), ids=lambda path: path.name)
def test_scripts_hold_no_sentence(path: Path) -> None:
    """They take their words from the page, which knows its language."""
    code = re.sub(r"//.*|/\*.*?\*/", "", path.read_text("utf-8"))
    assert re.findall(r"[\"'`][A-Z][a-z]+ [a-z]+[^\"'`]*", code) == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de,zh;q=0.4,en;q=0.3", "zh"),
        ("fr", "en"),
        ("", "en"),
        ("zh;q=0", "en"),
        ("zh;q=rubbish,,;;q", "en"),
        ("zh;q=nan", "en"),
    ],
)
def test_the_browsers_wish_is_read(header: str, expected: str) -> None:
    assert asked_for(header) == expected


def request(cookie: str = "", accept: str = "") -> Request:
    headers = [(b"cookie", cookie.encode()), (b"accept-language", accept.encode())]
    return Request({"type": "http", "headers": headers})


def test_the_person_goes_before_the_cookie_before_the_browser() -> None:
    asked = request(f"{language.COOKIE}=zh", "en")
    assert language_of(asked, Person(language="en")) == "en"
    assert language_of(asked, Person(language=None)) == "zh"
    assert language_of(request("", "zh"), None) == "zh"
    assert language_of(request(f"{language.COOKIE}=xx", ""), None) == "en"


def test_values_are_escaped_and_unknown_sentences_stay() -> None:
    with speaking("zh"):
        assert translate("Revoke %(name)s", name="<b>") == "吊销 &lt;b&gt;"
        assert translate("100% of nothing known") == "100% of nothing known"
    assert translate("Revoke") == "Revoke"


def test_the_choice_is_kept_for_the_person_and_the_browser(client, browser_of, person, session) -> None:
    someone = person()
    browser = browser_of(someone)
    assert '<html lang="en"' in browser.get("/account").text
    back = browser.post("/preferences", data={"language": "zh", "back": "/account"})
    assert back.headers["location"] == "/account"
    assert '<html lang="zh-Hans"' in browser.get("/account").text
    session.refresh(someone)
    assert someone.language == "zh"
    assert "登录" in client.get("/login", headers={"Accept-Language": "zh"}).text
    client.post("/preferences", data={"language": "zh", "back": "/login"})
    assert "登录" in client.get("/login").text


def test_looks_are_kept_and_rubbish_is_not(client) -> None:
    client.post("/preferences", data={"theme": "dark", "back": "//evil.example"})
    assert 'data-theme="dark"' in client.get("/login").text
    client.post("/preferences", data={"theme": '"><script>', "language": "xx", "back": "/login"})
    assert 'data-theme="dark"' in client.get("/login").text
    client.cookies.clear()
    client.cookies.set("rankloop_theme", '"><script>')
    assert 'data-theme="auto"' in client.get("/login").text
