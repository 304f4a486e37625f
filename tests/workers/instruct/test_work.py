"""A job of instructions from its seeds to its report: rounds, filters, death and resumption, an endpoint that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from alignment.shared.config import InstructConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import NullReporter, Paused
from alignment.shared.records import Demonstration, Prompt, write_jsonl
from alignment.shared.stages import InstructInputs, Teacher
from annotation_api.settings import SettingsError
from annotation_api.worker_settings import WorkerSettings
from tests.workers.instruct.service import Service, serving
from tests.workers.instruct.talker import Talker
from workers.attempt.teachers import teacher_of
from workers.instruct.endpoint import Endpoint
from workers.instruct.journal import NAME
from workers.instruct.work import instruct

SEEDS = ["Explain how rain forms in spring.", "List five trees of the north.", "Name the parts of a river boat."]


def run(
    tmp: Path, answering: Any, checkpoints: str = "1", reporter: Any = None, **config: Any
) -> tuple[dict[str, Any], list[Any]]:
    """The report, and the records that were made."""
    seeds = tmp / "seeds.jsonl"
    write_jsonl(seeds, [Demonstration(prompt=Prompt.from_text(f"{text}\n\nx"), response="y") for text in SEEDS])
    out = tmp / f"out{checkpoints}"
    out.mkdir()
    inputs = InstructInputs(seeds=seeds, checkpoints=tmp / "saved" / checkpoints, resume_from=tmp / "saved")
    settings = InstructConfig.model_validate({"count": 12, "requests": 3} | config)
    result = instruct(settings, inputs, out, reporter or NullReporter(), answering)
    kind = Demonstration if settings.makes == "demonstrations" else Prompt
    made = [kind.from_line(line) for line in (out / "prepared.jsonl").read_bytes().splitlines()]
    report: dict[str, Any] = json.loads((out / "preparation.json").read_text())
    assert report == result.details["preparation"]
    return report, made


def test_what_is_made_and_what_goes(tmp_path: Path) -> None:
    report, made = run(tmp_path, Talker())
    assert (report["after"], len(made)) == (12, 12)
    assert len({record.prompt.text for record in made}) == 12
    first = made[0]
    assert first.lineage == {"source": "self-instruct", "teacher": "talker", "round": "1"}
    assert (first.prompt.language, first.response[:7]) == ("en", "Answer ")
    steps = {step["step"]: step for step in report["steps"]}
    assert steps["likeness"]["left_out"].keys() == {"is like an earlier instruction"}
    assert steps["wording"]["left_out"].keys() == {"asks for what a language model cannot do"}
    assert all(step["examples"][0]["text"] for step in report["steps"] if step["left_out"])


def test_prompts_alone(tmp_path: Path) -> None:
    _, made = run(tmp_path, Talker(), makes="prompts", count=3)
    assert len(made) == 3
    assert all(isinstance(record, Prompt) for record in made)


def test_in_chinese(tmp_path: Path) -> None:
    _, made = run(tmp_path, Talker("zh"), language="zh", count=5)
    assert [record.prompt.language for record in made] == ["zh"] * 5


class Dying(Talker):
    """Dies in its third round."""

    def __call__(self, requests: Sequence[str], turn: int) -> list[str]:
        if turn >= 6:
            raise KeyboardInterrupt
        return super().__call__(requests, turn)


def test_a_death_costs_the_round_that_it_fell_in(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", Talker(), count=18)[1]
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", Dying(), count=18)
    saved = tmp_path / "killed" / "saved" / "1" / NAME
    assert len(saved.read_text().splitlines()) == 2
    with saved.open("a") as file:
        file.write('{"round": 3, "kno')  # what a death leaves
    talker = Talker()
    assert run(tmp_path / "killed", talker, checkpoints="2", count=18)[1] == whole
    assert min(talker.turns) == 6


class Pausing(NullReporter):
    def paused(self) -> bool:
        return True


def test_a_pause_keeps_the_rounds(tmp_path: Path) -> None:
    with pytest.raises(Paused):
        run(tmp_path, Talker(), reporter=Pausing())


class Parrot(Talker):
    def __call__(self, requests: Sequence[str], turn: int) -> list[str]:
        return [f"Task 9: {SEEDS[0]}" for _ in requests]


def test_who_says_nothing_new_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Nothing was made in 4 rounds: is like an earlier instruction"):
        run(tmp_path, Parrot(), patience=4)


# ---------------------------------------------------------------- endpoints


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as found:
        yield found


def endpoint(service: Service, waits: list[float] | None = None) -> Endpoint:
    config = InstructConfig(teacher="t", teacher_model="m", requests=3)
    teacher = Teacher(url=f"http://127.0.0.1:{service.server_port}/v1", key=SecretStr("quiet"))
    return Endpoint(teacher, config, sleep=(waits if waits is not None else []).append)


def test_an_endpoint_is_asked_with_its_key(tmp_path: Path, service: Service) -> None:
    _, made = run(tmp_path, endpoint(service), teacher="t", teacher_model="m", count=4)
    assert len(made) == 4
    assert made[0].lineage["teacher"] == "m"
    assert service.keys == {"Bearer quiet"}


def test_a_busy_endpoint_is_asked_again(service: Service) -> None:
    service.statuses[:] = [429, 503, 206]  # the last one's answer cannot be unpacked
    waits: list[float] = []
    assert endpoint(service, waits)(["Task 9:"], 1)[0]
    assert waits == [2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("status", "why"), [(401, "refuses the request (HTTP 401)"), (307, "sends elsewhere, which is not followed")]
)
def test_what_is_not_tried_again(service: Service, status: int, why: str) -> None:
    service.statuses[:] = [status] * 3
    with pytest.raises(BadInput) as refused:
        endpoint(service)(["Task 9:"], 1)
    assert why in refused.value.cause
    assert "quiet" not in str(refused.value)


def test_only_endpoints_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = {"ours": ("http://10.0.0.5/v1", "OUR_KEY"), "open": ("http://10.0.0.6/v1", None)}
    assert teacher_of({"teacher": None}, allowed) == {}
    for name, why in (("http://169.254.169.254", "is not allowed"), ("theirs", "is not allowed"), ("ours", "OUR_KEY")):
        with pytest.raises(BadInput, match=why):
            teacher_of({"teacher": name}, allowed)
    with pytest.raises(BadInput, match="is not allowed"):
        teacher_of({"teacher": "open"}, {})
    monkeypatch.setenv("OUR_KEY", "quiet")
    teacher = teacher_of({"teacher": "ours"}, allowed)["teacher"]
    assert (teacher.url, teacher.key.get_secret_value()) == ("http://10.0.0.5/v1", "quiet")
    assert "quiet" not in repr(teacher)


@pytest.mark.parametrize("variable", ["RANKLOOP_FAR_KEY", "PGKEY"])
def test_a_key_that_launchers_forget_is_refused_at_the_door(variable: str) -> None:
    told = f"RANKLOOP_TEACHERS cannot be used: .*'{variable}' is kept from jobs.* call it otherwise"
    with pytest.raises(SettingsError, match=told):
        WorkerSettings.from_environment({"RANKLOOP_TEACHERS": f"far=https://llm.example.com/v1#{variable}"})
