"""Forms on the page of a thing that cannot be done come back there: all that was typed, the error at its field."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from alignment.shared.on_data.prepare import PERSONAL
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.tables import DatasetKind, Role
from tests.support.jobs import As

Sent = dict[str, Any]
PREPARED: Sent = {
    "duplicates": "near",
    "near_threshold": "91",
    "personal": "mask",
    "personal_kinds": ["phone", "email"],
    "repeated_lines": "yes",
    "min_characters": "7",
    "max_repetition": "33",
    "languages": "en zh",
    "cap_by": "kind",
    "cap": "12",
    "weights": "en=2",
    "seed": "5",
}
INSTRUCTED: Sent = {"count": "17", "language": "zh", "makes": "prompts", "likeness": "66"}
LABELLED: Sent = {"name": "second try", "tags": "a b", "notes": "\n  line one\n<b>two</b>"}

NOT_OFFERED = ("some", "snapshot:nothing", "teacher:nobody", "model:nothing")  # a list cannot show them


@pytest.fixture
def pages(make: Any, as_: As) -> dict[str, str]:
    dataset = make.dataset(DatasetKind.DEMONSTRATIONS, [Demonstration(prompt=Prompt.from_text("Q?"), response="a")])
    frozen = as_(Role.ENGINEER).post("/v1/snapshots", json={"dataset": str(dataset.id), "kind": "demonstrations"})
    return {
        "dataset": f"/datasets/{dataset.id}",
        "snapshot": f"/snapshots/{frozen.json()['id']}",
        "job": f"/jobs/{make.job().id}",
        "model": f"/models/{make.model().id}",
    }


def form_of(html: str, action: str) -> str:
    found = re.search(rf'<details[^>]* open>(?:(?!</details>).)*?<form[^>]*action="{action}".*?</form>', html, re.S)
    assert found, f"the form of {action} is not open"
    return found[0]


def typed_in(form: str) -> Sent:
    """What a browser would send again."""
    found: dict[str, list[str]] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = (re.search(rf' {of}="([^"]*)"', tag) for of in ("name", "value"))
        if name and ('type="checkbox"' not in tag or " checked" in tag):
            found.setdefault(name[1], []).append(unescape(value[1] if value else ""))
    for name, text in re.findall(r'<textarea[^>]* name="(\w+)"[^>]*>\n?(.*?)</textarea>', form, re.S):
        found[name] = [unescape(text)]
    for name, options in re.findall(r'<select[^>]* ?name="(\w+)"[^>]*>(.*?)</select>', form, re.S):
        found[name] = re.findall(r'value="([^"]*)" selected', options) or [""]
    return {name: values if name == "personal_kinds" else values[0] for name, values in found.items()}


def wrong_in(form: str) -> list[str]:
    """The fields that are marked as wrong; each names where it is said why."""
    marked = re.findall(r'name="(\w+)"[^>]* aria-invalid="true" aria-describedby="([\w-]+)"', form)
    assert all(f'id="{said}"' in form for _, said in marked)
    return [name for name, _ in marked]


@pytest.mark.parametrize(
    ("page", "of", "sent", "wrong"),
    [
        ("dataset", "prepare", PREPARED | {"near_threshold": "40"}, "near_threshold"),
        ("dataset", "prepare", PREPARED | {"cap": "many"}, "cap"),
        ("dataset", "prepare", PREPARED | {"weights": "en=heavy, zh=2"}, "weights"),
        ("dataset", "prepare", PREPARED | {"languages": "english, zh"}, "languages"),
        ("dataset", "prepare", PREPARED | {"duplicates": "some"}, "duplicates"),
        ("dataset", "prepare", PREPARED | {"evaluation": "snapshot:nothing"}, "evaluation"),
        ("dataset", "prepare", PREPARED | {"min_characters": "9", "max_characters": "3"}, None),
        ("dataset", "instruct", INSTRUCTED | {"count": "0"}, "count"),
        ("dataset", "instruct", INSTRUCTED | {"answers": "teacher:nobody"}, None),
        ("dataset", "instruct", INSTRUCTED | {"answers": "model:nothing"}, "answers"),
        ("dataset", "labels", LABELLED | {"tags": "a ?"}, "tags"),
        ("snapshot", "labels", LABELLED | {"tags": "a ?"}, "tags"),
        ("job", "labels", LABELLED | {"name": "x" * 201}, "name"),
        ("model", "labels", LABELLED | {"notes": "x" * 10_001}, "notes"),
        ("model", "alias", {"alias": "Not One", "why": "it is <best>"}, "alias"),
        ("model", "alias", {"alias": "champion", "why": "x" * 10_001}, "why"),
    ],
)
def test_a_form_comes_back_with_all_that_was_typed(
    browser_of: As, pages: dict[str, str], page: str, of: str, sent: Sent, wrong: str | None
) -> None:
    answer = browser_of(Role.ENGINEER).post(f"{pages[page]}/{of}", data=sent)
    assert answer.status_code == 422, answer.text
    form = form_of(answer.text, f"{pages[page]}/{of}")
    assert 'role="alert"' in form
    assert wrong_in(form) == ([wrong] if wrong else [])
    kept = {name: value for name, value in sent.items() if value not in NOT_OFFERED}
    assert kept.items() <= typed_in(form).items()


def test_what_is_sent_again_from_the_page_is_the_job(browser_of: As, as_: As, pages: dict[str, str]) -> None:
    browser, action = browser_of(Role.ENGINEER), f"{pages['dataset']}/prepare"
    page = browser.post(action, data=PREPARED | {"cap": "-1"}).text
    queued = browser.post(action, data=typed_in(form_of(page, action)) | {"cap": "3"})
    assert queued.status_code == 303
    config = as_(Role.ENGINEER).get(f"/v1{queued.headers['location']}").json()["config"]
    assert (config["near_threshold"], config["cap"], config["languages"]) == (0.91, 3, ["en", "zh"])
    assert (config["personal_kinds"], config["weights"]) == (["phone", "email"], {"en": 2.0})
    assert config["max_symbols"] == 1.0


def test_a_page_without_an_error_has_its_usual_values(browser_of: As, pages: dict[str, str]) -> None:
    html = browser_of(Role.ENGINEER).get(pages["dataset"]).text
    form = html[html.index("/prepare") :].split("</form>")[0]
    typed = typed_in(f"<{form}")
    assert typed["personal_kinds"] == list(PERSONAL)
    assert (typed["near_threshold"], typed["duplicates"], typed["languages"]) == ("80", "keep", "")
    assert "repeated_lines" not in typed
    assert 'role="alert"' not in html
