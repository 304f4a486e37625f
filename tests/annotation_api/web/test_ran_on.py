"""What a job ran on, as its page and a comparison show it: by the names that things have everywhere."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.config import CONFIGS, Stage, load_preset
from alignment.shared.stages import inputs_of
from annotation_api.db.kinds import DEFAULTS
from annotation_api.db.tables import DatasetKind, Job, Person, Project, Role, Snapshot
from annotation_api.web.markup.rendering import _environment
from annotation_api.web.runs.ran_on import unlike_preset

CHANGED = {"learning_rate": 9e-6, "seed": 3}


def made(preset: str | None) -> Job:
    """With the defaults, but for two settings."""
    config = CONFIGS[Stage.SFT]().model_dump(mode="json") | CHANGED
    return Job(stage=Stage.SFT, config=config, preset=preset)


def test_settings_stand_beside_the_preset_that_was_chosen_though_another_is_nearer() -> None:
    name, found = unlike_preset(made("toy"))
    toy = load_preset("toy", Stage.SFT).model_dump(mode="json")
    assert name == "toy"
    assert {"learning_rate", "seed", "batch_size"} <= {each.name for each in found}
    assert next(each.values for each in found if each.name == "seed") == (toy["seed"], 3)


def test_of_an_older_job_it_is_the_nearest_and_so_where_the_preset_is_gone() -> None:
    for preset in (None, "gone", DEFAULTS):
        name, found = unlike_preset(made(preset))
        assert (name, [each.name for each in found]) == (DEFAULTS, ["learning_rate", "seed"])


def frozen(session: Session, person: Person, **fields: Any) -> Snapshot:
    row = Snapshot(kind=DatasetKind.RANKINGS, sha256="0" * 64, rows=7, created_by=person.id, **fields)
    session.add(row)
    session.flush()
    return row


def test_what_jobs_read_has_its_name_and_its_role_in_words(
    browser_of: Any, person: Any, make: Any, session: Session
) -> None:
    engineer = person(Role.ENGINEER)
    engineer.language = "zh"
    project: Project = make.project(engineer, name="问答项目")
    one = frozen(session, engineer, sources={"project": str(project.id)})
    other = frozen(session, engineer, sources={"datasets": [str(make.dataset(DatasetKind.RANKINGS, []).id)]})
    named = frozen(session, engineer, sources=other.sources, name="干净的排序")
    jobs = [
        make.job(Stage.REWARD, created_by=engineer.id, inputs={"rankings": {"snapshot": str(row.id)}})
        for row in (one, other, named)
    ]
    page = browser_of(engineer).get("/compare", params={"job": [str(job.id) for job in jobs]})
    assert page.status_code == 200
    row = re.search(r"<tr><td>排序</td>(.*?)</tr>", page.text)
    assert row, page.text
    labels = (("问答项目", one), ("file.jsonl", other), ("干净的排序", named))
    assert re.findall("<td>(.*?)</td>", row[1]) == [f"{name} ({str(it.id)[:8]})" for name, it in labels]
    for (name, _), job in zip(labels, jobs, strict=True):
        assert name in browser_of(engineer).get(f"/jobs/{job.id}").text


def test_every_role_has_a_word() -> None:
    role = _environment.get_template("_macros.html").module.role  # type: ignore[attr-defined]
    assert [name for stage in Stage for name in inputs_of(stage) if str(role(name)) == name] == []
