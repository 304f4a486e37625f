"""The engineers' data pages in a real Chromium: upload, preview, commit, search, freeze, download."""

from __future__ import annotations

import gzip
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from alignment.shared.on_data.prepare import PERSONAL
from annotation_api.db.tables import Dataset, Job, Role
from annotation_api.http import auth
from annotation_api.settings import Settings
from tests.support.live import app_of, served

pytestmark = pytest.mark.browser

HOSTILE = "<img src=https://evil.example/x.png onerror=alert(1)>"
PAIRS = [{"prompt": f"Why do birds {verb}?", "chosen": f"Because of {verb}ing.", "rejected": f"=cmd|' /C {verb}'!A0"}
         for verb in ("sing", "fly", "100% nest", "唱歌", HOSTILE)]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def data_url(module_engine: Engine, home: Path) -> Iterator[str]:
    with served(app_of(Settings(database_url="postgresql://given-by-the-engine", home=home), module_engine)) as url:
        yield url


@pytest.fixture
def engineer(module_engine: Engine, factory: Any) -> str:
    """The cookie of a signed-in engineer."""
    with Session(module_engine) as session:
        token = auth.start_session(session, factory(session).person(Role.ENGINEER, name="Erin"))
        session.commit()
    return token


class Tabs:
    """Pages of the engineer, which fail their test on a script error or a request to anywhere else."""

    def __init__(self, browser: Browser, url: str, token: str) -> None:
        self.browser, self.url, self.token = browser, url, token
        self.contexts: list[Any] = []
        self.faults: list[str] = []

    def open(self, path: str, **options: Any) -> Page:
        context = self.browser.new_context(base_url=self.url, **options)
        context.add_cookies([{"name": "rankloop", "value": self.token, "url": self.url}])
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda it: None if it.url.startswith((self.url, "data:")) else self.faults.append(it.url))
        page.goto(path)
        return page


@pytest.fixture
def tabs(desk_chromium: Browser, data_url: str, engineer: str) -> Iterator[Tabs]:
    found = Tabs(desk_chromium, data_url, engineer)
    yield found
    for context in found.contexts:
        context.close()
    assert found.faults == []


def jsonl(rows: list[Any]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def choose(page: Page, name: str, data: bytes, kind: str = "preferences") -> None:
    """Fill in the upload form and send it."""
    if page.locator("details:not([open])").count():  # it is open while there is no data set
        page.locator("summary", has_text="Import a file").click()
    page.get_by_label("File").set_input_files({"name": name, "mimeType": "application/json", "buffer": data})
    page.get_by_label("The rows are").select_option(kind)
    page.get_by_role("button", name="Upload and look").click()


def picture(page: Page, name: str) -> None:
    """Kept where somebody asks for pictures to look at."""
    if folder := os.environ.get("RANKLOOP_TEST_PICTURES"):
        page.screenshot(path=f"{folder}/data-{name}.png", full_page=True)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_file_is_looked_at_then_imported(tabs: Tabs, module_engine: Engine, home: Path, scripts: bool) -> None:
    page = tabs.open("/datasets", java_script_enabled=scripts, viewport={"width": 360, "height": 740})
    name = f"birds-{uuid.uuid4().hex[:6]}.jsonl.gz"
    choose(page, name, gzip.compress(jsonl([*PAIRS, PAIRS[0]])))
    expect(page.get_by_role("heading", name=f"Preview of {name}")).to_be_visible()
    expect(page.locator("dl.facts")).to_contain_text(re.compile(r"Records\s*5\s*Duplicates\s*1\s*Refused\s*0"))
    expect(page.get_by_text(HOSTILE).first).to_be_visible()
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        picture(page, "preview-phone")
    with Session(module_engine) as session:
        assert session.scalar(select(Dataset).where(Dataset.name == name)) is None  # only looked at
    page.get_by_role("button", name="Import 5 records").click()
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}$"))
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    assert list((home / "uploads").iterdir()) == []


def test_refused_rows_are_shown_and_left_out_only_when_asked(tabs: Tabs) -> None:
    page = tabs.open("/datasets")
    choose(page, "mixed.jsonl", jsonl([PAIRS[0], {"prompt": "Only a question"}, PAIRS[1]]))
    expect(page.get_by_role("row", name=re.compile("2 chosen is missing"))).to_be_visible()
    expect(page.get_by_text("Refused rows: 1.")).to_be_visible()
    picture(page, "preview-refused")
    page.get_by_role("button", name="Import 2 records").click()
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}$"))
    page.get_by_text("What was refused").click()
    expect(page.get_by_role("row", name=re.compile("2 chosen is missing"))).to_be_visible()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("sheet.xlsx", b"PK\x03\x04\x14\x00[Content_Types].xml", "an Excel workbook (xlsx)"),
        ("cut.gz", gzip.compress(jsonl(PAIRS))[:-9], "damaged or cut short"),
        ("poem.txt", b"Shall I compare thee?\n", "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tabs: Tabs, name: str, data: bytes, why: str) -> None:
    page = tabs.open("/datasets")
    choose(page, name, data)
    expect(page.get_by_text(why).first).to_be_visible()
    expect(page.get_by_text("Nothing was stored.")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Import"))).to_have_count(0)


@pytest.fixture
def imported(module_engine: Engine, factory: Any) -> uuid.UUID:
    """A data set of 45 rankings, one of them about owls and two with quotes and signs."""
    from alignment.shared.records import Prompt, Ranking
    from annotation_api.db.tables import DatasetKind

    texts = [f"Question {n} about finches?" for n in range(43)] + ['The OWL\'s "50%_off"?', "Prompt\nwith a user?"]
    records = [Ranking(prompt=Prompt.from_text(text), responses=("yes", "no"), groups=((1,), (0,))) for text in texts]
    with Session(module_engine) as session:
        dataset = factory(session).dataset(DatasetKind.RANKINGS, records)
        session.commit()
        return uuid.UUID(str(dataset.id))


def test_records_are_browsed_and_searched(tabs: Tabs, imported: uuid.UUID) -> None:
    page = tabs.open(f"/datasets/{imported}")
    expect(page.locator(".records > li")).to_have_count(20)
    for left in (20, 5):
        page.get_by_role("link", name="More records").click()
        expect(page.locator(".records > li")).to_have_count(left)
    page.get_by_role("link", name="From the start").click()
    expect(page.get_by_text("Question 0 about")).to_be_visible()
    for words, found in (("owl", 1), ('"50%_off"', 1), ("50__off", 0), ("messages", 0), ("finches", 20), ("a\\", 0)):
        page.get_by_label("Words in a text").fill(words)
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".records > li")).to_have_count(found)
    expect(page.get_by_text("No record has these words.")).to_be_visible()


def test_a_snapshot_is_made_and_downloaded_in_every_format(tabs: Tabs, imported: uuid.UUID) -> None:
    page = tabs.open(f"/datasets/{imported}")
    page.get_by_role("link", name="Make a snapshot").click()
    expect(page.locator("select[name=kind] option[value=answers]")).to_be_disabled()  # a data set holds none
    page.locator("select[name=kind]").select_option("rankings")
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("heading", name="Snapshot of file.jsonl")).to_be_visible()
    expect(page.locator(".records > li")).to_have_count(10)
    picture(page, "snapshot")
    sizes = {}
    for format in ("trl", "jsonl", "parquet", "records-parquet", "csv"):
        with page.expect_download() as download:
            page.get_by_role("link", name=format, exact=True).click()
        sizes[download.value.suggested_filename.split(".", 1)[1]] = Path(download.value.path()).stat().st_size
    assert set(sizes) == {"trl.jsonl", "jsonl", "parquet", "records.parquet", "csv"}
    assert min(sizes.values()) > 500
    page.goto("/snapshots")
    expect(page.get_by_role("row", name=re.compile("rankings file.jsonl 45"))).to_be_visible()


def test_somebody_elses_upload_cannot_be_imported(tabs: Tabs, data_url: str) -> None:
    page = tabs.open("/datasets")
    form = {"token": "0" * 64, "name": "x", "kind": "prompts", "format": "auto"}
    answer = page.request.post("/datasets", form=form, headers={"Origin": data_url, "Accept": "text/html"})
    assert answer.status == 410
    assert "Upload it again" in answer.text()


UNKNOWN = """Frage;Antwort links;Antwort rechts;Notiz
Warum singen Vögel?;Weil sie werben.;Weil sie laut sind.;a
Warum ist Schnee weiß?;Er streut Licht.;Er ist kalt.;b
"""


def test_an_unknown_table_becomes_a_projects_tasks(
    tabs: Tabs, module_engine: Engine, factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session(module_engine) as session:
        project = factory(session).project(name=f"birds {uuid.uuid4().hex[:6]}")
        session.commit()
        place = f"/projects/{project.id}"
    page = tabs.open("/datasets", viewport={"width": 1280, "height": 900})
    began = time.monotonic()
    choose(page, "tabelle.csv", UNKNOWN.encode(), kind="responses")
    expect(page.get_by_text("Nothing was stored.")).to_be_visible()
    picture(page, "unknown-table")
    for field, column in (("Prompt", "Frage"), ("Response 1", "Antwort links"), ("Response 2", "Antwort rechts")):
        page.get_by_role("combobox", name=field, exact=True).select_option(column)
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_text("Warum singen Vögel?")).to_be_visible()
    expect(page.locator(".records").get_by_text("Notiz")).to_have_count(0)
    picture(page, "unknown-table-mapped")
    page.get_by_role("button", name="Import 2 records").click()
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}$"))
    dataset = page.url.rsplit("/", 1)[1]
    page.goto(place)
    page.locator("#fill").get_by_label("Data set").select_option(dataset)
    page.get_by_role("button", name="See how many it makes").click()
    page.get_by_role("button", name="Make 2 tasks").click()
    expect(page.locator("#fill").get_by_role("status")).to_contain_text("2 new tasks from 2 rows")
    picture(page, "unknown-table-tasks")
    with capsys.disabled():
        print(f"\nan unknown table became tasks in {time.monotonic() - began:.1f} s")


def test_all_options_of_a_preparation_reach_its_job(tabs: Tabs, imported: uuid.UUID, module_engine: Engine) -> None:
    page = tabs.open(f"/datasets/{imported}", viewport={"width": 1280, "height": 900})
    page.locator("summary", has_text="Prepare for training").click()
    for name, value in (("Duplicates", "near"), ("Personal data", "mask"), ("Count by", "kind")):
        page.get_by_role("combobox", name=name, exact=True).select_option(value)
    for name, value in (
        ("Nearly the same from, %", "90"),
        ("Only these languages, as en, zh (empty: any)", "en, ZH"),
        ("Weights, as en=1, zh=2", "list=2, other = 0.5"),
        ("Most records of each (0: all)", "7"),
        ("Seed of what is drawn", "3"),
    ):
        page.get_by_label(name, exact=True).fill(value)
    page.get_by_label("iban", exact=True).uncheck()
    page.get_by_label("Leave out what is in these data").select_option(f"dataset:{imported}")
    picture(page, "prepare-form")
    page.get_by_role("button", name="Show what would go").click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    with Session(module_engine) as session:
        job = session.get_one(Job, uuid.UUID(page.url.rsplit("/", 1)[1]))
    wanted = {"duplicates": "near", "near_threshold": 0.9, "personal": "mask", "languages": ["en", "zh"], "cap": 7,
              "cap_by": "kind", "weights": {"list": 2.0, "other": 0.5}, "seed": 3}  # fmt: skip
    assert job.config.items() >= wanted.items()
    assert set(PERSONAL) - set(job.config["personal_kinds"]) == {"iban"}
    assert job.inputs.keys() == {"records", "against"}
