"""A run that is killed, paused or loses a checkpoint ends with the weights of one that was never stopped."""

import random
import resource
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from alignment.shared import artifact as checkpoint
from alignment.shared import stages
from alignment.shared.config import CONFIGS, PPOConfig, Stage
from alignment.shared.errors import BadInput, DiskFull
from alignment.shared.events import Meter, NullReporter, Paused, SavedCheckpoint, StageProgress
from alignment.shared.gpus import NOTHING_SHARED
from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl
from alignment.training.checkpoints import Checkpoints
from tests.support.alignment import kills, tiny
from tests.support.alignment.kills import RecordingReporter, Run

pytestmark = pytest.mark.slow

COMMON = {"learning_rate": 3e-3, "batch_size": 4, "micro_batch_size": 2, "max_length": 64, "save_every": 2}
LORA = {"rank": 2, "dropout": 0.1}
REWARD = {**COMMON, "epochs": 2.0, "heldout_fraction": 0.2}
PPO = {**COMMON, "updates": 16, "max_response_length": 6, "heldout_fraction": 0.3}
PPO |= {"evaluate_every": 3, "evaluate_replies": 14}  # two to each of seven prompts
MOVING = {
    "kl_controller": "adaptive",
    "kl_horizon": 40,
    "score_normalisation": "running",
    "ema_decay": 0.9,
    "ptx_coef": 1.0,
    "ptx_examples": 1,
    "alarms": {"window": 2, "length": 1.05},
}
RUNS: dict[str, tuple[Stage, dict[str, Any], int]] = {  # with the number of its steps
    "sft": (Stage.SFT, {**COMMON, "epochs": 2.5}, 15),
    "sft adapters": (Stage.SFT, {**COMMON, "epochs": 3.0, "lora": LORA}, 18),
    "reward": (Stage.REWARD, {**REWARD, "epochs": 3.0}, 15),
    "ensemble": (Stage.REWARD, {**REWARD, "members": 2, "member_kind": "bootstrap"}, 20),
    "ensemble of adapters": (Stage.REWARD, {**REWARD, "members": 2, "member_kind": "adapter", "lora": LORA}, 20),
    "ppo": (Stage.PPO, PPO, 16),
    "ppo with all that moves": (Stage.PPO, {**PPO, **MOVING}, 16),
    "ppo adapters": (Stage.PPO, {**PPO, "lora": {"rank": 2}}, 16),
}

KILLED = ("sft", "reward", "ensemble of adapters", "ppo with all that moves")
LIKE = "what it saves, one of the others saves too"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with dropout in it and without a padding token, a reward model, and records."""
    folder, rng = tmp_path_factory.mktemp("files"), random.Random(0)

    def text(least: int, most: int) -> str:
        return " ".join(rng.choices(tiny.WORDS, k=rng.randint(least, most)))

    for model, name in [(tiny.causal(attention_dropout=0.1), "sft"), (tiny.scorer(1), "judge")]:
        tokenizer = tiny.tokenizer()
        tokenizer.pad_token = None
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    prompts = [Prompt.from_text(text(3, 12)) for _ in range(24)]
    write_jsonl(folder / "demonstrations.jsonl", [Demonstration(prompt=p, response=text(2, 9)) for p in prompts])
    rankings = []
    for prompt in prompts:
        responses = tuple(dict.fromkeys(text(2, 6) for _ in range(4)))
        order = rng.sample(range(len(responses)), len(responses))
        rankings.append(Ranking(prompt=prompt, responses=responses, groups=tuple((i,) for i in order)))
    write_jsonl(folder / "rankings.jsonl", rankings)
    write_jsonl(folder / "prompts.jsonl", prompts)
    return folder


def run_of(files: Path, name: str, checkpoints: Path | None, **settings: Any) -> Run:
    stage, config, _ = RUNS[name]
    inputs: dict[str, Any] = {
        Stage.SFT: {"model": files / "sft", "demonstrations": files / "demonstrations.jsonl"},
        Stage.REWARD: {"model": files / "sft", "rankings": files / "rankings.jsonl"},
        Stage.PPO: {"model": files / "sft", "reward_model": files / "judge", "prompts": files / "prompts.jsonl"},
    }[stage]
    if "ptx_coef" in config:
        inputs["pretraining"] = files / "demonstrations.jsonl"
    return Run(stage, config | settings, inputs | {"checkpoints": checkpoints})


@pytest.fixture(scope="module")
def undisturbed(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the run of that name leaves when nothing stops it and nothing is saved; made once."""
    made: dict[str, bytes] = {}

    def get(name: str) -> bytes:
        if name not in made:
            reported = RecordingReporter()
            made[name] = run_of(files, name, None).into(tmp_path_factory.mktemp("whole") / "out", reported)
            assert len(reported.steps) == RUNS[name][2]
        return made[name]

    return get


@pytest.mark.parametrize(
    "name", [name if name in KILLED else pytest.param(name, marks=pytest.mark.deep(reason=LIKE)) for name in RUNS]
)
def test_killed_at_five_steps_and_started_again(files: Path, undisturbed: Any, tmp_path: Path, name: str) -> None:
    """In the midst of steps and of saving; weights and result.json are those of the undisturbed run, byte by byte."""
    run, rng = run_of(files, name, tmp_path / "checkpoints"), random.Random(name)
    left, notes = kills.killed_and_finished(run, tmp_path / "out", RUNS[name][2], 5, rng)
    assert any("Going on from checkpoint-" in note for note in notes)
    assert not any("damaged" in note for note in notes)
    assert left == undisturbed(name)


@pytest.mark.parametrize(
    ("name", "pause_at"),
    [
        *(("sft", 5), ("sft", 15), ("reward", 15), ("ensemble", 13), ("ppo", 3)),
        pytest.param("ppo", 16, marks=pytest.mark.deep(reason="the last step of the other stages shows the same")),
    ],
)
def test_a_pause_saves_stops_and_goes_on(
    files: Path, undisturbed: Any, tmp_path: Path, name: str, pause_at: int
) -> None:
    """At any step, inside a later member, and at the last one; progress goes on with the next step."""
    run, steps = run_of(files, name, tmp_path / "checkpoints"), RUNS[name][2]
    reported, again = RecordingReporter(pause_at=pause_at), RecordingReporter()
    with pytest.raises(Paused):
        run.into(tmp_path / "out", reported)
    assert reported.saved[-1].step == len(reported.steps) == pause_at
    assert run.into(tmp_path / "out", again) == undisturbed(name)
    assert len(again.steps) == steps - pause_at
    assert again.steps == (reported.steps + again.steps)[pause_at:]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ppo", marks=pytest.mark.deep(reason="the other one holds all of it and more")),
        "ppo with all that moves",
    ],
)
def test_ppo_goes_on_while_its_checkpoint_is_written_and_that_holds_the_border(
    files: Path, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The files of step 2 are written when step 3 is done; a run that goes on from them ends as if nothing was."""
    went_on = threading.Event()

    class Waiting(RecordingReporter):
        def progress(self, progress: StageProgress) -> None:
            super().progress(progress)
            if progress.step == 3:
                went_on.set()

    def late(tensors: Any, path: Path) -> None:
        assert went_on.wait(60), "training waits for its checkpoint"
        save_file(tensors, path)

    with monkeypatch.context() as slow:
        slow.setattr("alignment.ppo.state.save_file", late)
        run, reported = run_of(files, name, tmp_path / "checkpoints"), Waiting(pause_at=3)
        with pytest.raises(Paused):
            run.into(tmp_path / "out", reported)
    assert [saved.step for saved in reported.saved] == [2, 3]
    shutil.rmtree(tmp_path / "checkpoints" / reported.saved[-1].name)
    again = RecordingReporter()
    assert run.into(tmp_path / "out", again) == undisturbed(name)
    assert again.steps[0] == 3


def test_without_a_folder_a_pause_changes_nothing(files: Path, undisturbed: Any, tmp_path: Path) -> None:
    assert run_of(files, "ppo", None).into(tmp_path / "out", RecordingReporter(pause_at=1)) == undisturbed("ppo")


def test_a_finished_member_is_not_trained_again(files: Path, tmp_path: Path) -> None:
    """Its last step is saved, though no checkpoint was due by the clock."""
    run = run_of(files, "ensemble", tmp_path / "checkpoints", save_every=None)
    reported, again = RecordingReporter(pause_at=11), RecordingReporter()
    with pytest.raises(Paused):
        run.into(tmp_path / "out", reported)
    assert [saved.step for saved in reported.saved] == [10, 11]
    run.into(tmp_path / "out", again)
    assert again.steps == list(range(2, 11))


def test_a_reported_checkpoint_is_whole_and_the_newest_two_are_kept(files: Path, tmp_path: Path) -> None:
    reported = RecordingReporter()
    run_of(files, "ensemble", tmp_path).into(tmp_path / "out", reported)
    assert [saved.step for saved in reported.saved] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    newest = reported.saved[-1]
    assert [path.name for path in sorted((tmp_path / newest.name).parent.iterdir())] == [
        "checkpoint-10",
        "checkpoint-8",
    ]
    files_of = checkpoint.verify(tmp_path / newest.name)["files"]
    assert sum(entry["size"] for entry in files_of.values()) == newest.size
    assert checkpoint.sha256_file(tmp_path / newest.name / checkpoint.MANIFEST) == newest.sha256
    assert newest.seconds > 0


def saved_by(files: Path, name: str, folder: Path) -> tuple[Run, list[Path]]:
    """A run that was paused after 5 steps, and its two checkpoints, newest first."""
    run, reported = run_of(files, name, folder), RecordingReporter(pause_at=5)
    with pytest.raises(Paused):
        run.into(folder.parent / "out", reported)
    return run, [folder / saved.name for saved in reversed(reported.saved[-2:])]


def found(run: Run, reporter: NullReporter | None = None, **changed: Any) -> Path | None:
    """The checkpoint that the run would go on from."""
    config = CONFIGS[run.stage].model_validate(run.config | changed)
    inputs = stages.INPUTS[run.stage].model_validate(run.inputs)
    assert isinstance(inputs, stages.ResumableInputs)
    return Checkpoints.of(run.stage, config, inputs, reporter or NullReporter()).newest()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sft", "ppo"])
def test_a_damaged_checkpoint_is_passed_over_and_named(files: Path, tmp_path: Path, name: str) -> None:
    """Every file with one byte turned over, at several offsets; every file cut short, and gone."""
    run, (newest, before) = saved_by(files, name, tmp_path / "checkpoints")
    assert found(run) == newest
    rng = random.Random(0)
    for path in sorted(path for path in newest.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        damaged: list[bytes | None] = [None, b"", whole + b"\0"]
        damaged += [whole[: rng.randrange(len(whole))] for _ in range(4)]
        for place in [0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(4))]:
            damaged.append(whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :])
        for data in damaged:
            path.unlink()
            if data is not None:
                path.write_bytes(data)
            reported = RecordingReporter()
            assert found(run, reported) == before, f"{path.name} with {data and len(data)} bytes"
            assert any(n.startswith("warning: A damaged checkpoint") and str(newest) in n for n in reported.notes)
            path.write_bytes(whole)
    assert found(run) == newest


def test_where_none_is_whole_the_run_says_that_it_begins_anew(files: Path, tmp_path: Path) -> None:
    run, both = saved_by(files, "sft", tmp_path / "checkpoints")
    for folder in both:
        (folder / checkpoint.MANIFEST).write_bytes(b"half")
    reported = RecordingReporter()
    assert found(run, reported) is None
    assert reported.notes[-1] == "warning: No checkpoint of the run is whole: it begins anew."
    fresh = RecordingReporter()
    assert found(run_of(files, "sft", tmp_path / "others"), fresh) is None
    assert not fresh.notes


def test_one_process_says_that_it_shares_nothing_out(files: Path, tmp_path: Path) -> None:
    for shares in (True, False):
        reported = RecordingReporter()
        run_of(files, "ppo", None, shard_weights=shares, updates=1).into(tmp_path / "out", reported)
        assert (f"info: {NOTHING_SHARED}" in reported.notes) == shares


@pytest.mark.parametrize("below", ["", "runs"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(
    files: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    reported = RecordingReporter()
    with pytest.raises(BadInput, match=r"Checkpoints cannot be written to .*(exists|Not a directory)"):
        run_of(files, "ppo", tmp_path / "checkpoints" / below).into(tmp_path / "out", reported)
    assert not reported.steps


@pytest.mark.parametrize("name", ["sft", "ppo"])
def test_a_run_with_a_damaged_checkpoint_ends_alike(files: Path, undisturbed: Any, tmp_path: Path, name: str) -> None:
    run, (newest, _) = saved_by(files, name, tmp_path / "checkpoints")
    (newest / checkpoint.MANIFEST).write_bytes(b"half")
    reported = RecordingReporter()
    assert run.into(tmp_path / "out", reported) == undisturbed(name)
    assert reported.steps[0] == 5
    assert not newest.exists()  # what was passed over goes


def test_only_the_same_settings_models_and_records_go_on(files: Path, tmp_path: Path) -> None:
    """When and where checkpoints are saved, and where files lie, makes no difference."""
    run, (newest, _) = saved_by(files, "sft", tmp_path / "checkpoints")
    assert found(run, save_every=None, save_minutes=1.0) == newest
    assert found(run, seed=1) is None
    assert found(run, learning_rate=2e-3) is None
    shutil.copytree(files, tmp_path / "moved")
    moved = run_of(tmp_path / "moved", "sft", tmp_path / "checkpoints")
    assert found(moved) == newest
    text = (tmp_path / "moved" / "demonstrations.jsonl").read_text()
    (tmp_path / "moved" / "demonstrations.jsonl").write_text(text.replace("w1", "w2", 1))
    assert found(moved) is None
    (tmp_path / "moved" / "demonstrations.jsonl").write_text(text)
    tiny.causal(1, attention_dropout=0.1).save_pretrained(tmp_path / "moved" / "sft")
    assert found(moved) is None


def test_a_later_attempt_writes_to_a_folder_of_its_own(files: Path, undisturbed: Any, tmp_path: Path) -> None:
    """It finds what the earlier one left beside its own, at any depth, and leaves that as it is."""
    _, (newest, _) = saved_by(files, "ppo", tmp_path / "job" / "some" / "1")
    before, reported = kills.content(tmp_path / "job" / "some" / "1"), RecordingReporter()
    run = run_of(files, "ppo", tmp_path / "job" / "2")
    run = Run(run.stage, run.config, run.inputs | {"resume_from": tmp_path / "job"})
    assert run.into(tmp_path / "out", reported) == undisturbed("ppo")
    assert reported.steps[0] == 6
    assert reported.evaluations == [3, 6, 9, 12, 15, 16]  # the saved evaluation is reported again
    assert any(str(newest.parent) in note for note in reported.notes)
    assert all((tmp_path / "job" / "2" / saved.name).is_relative_to(tmp_path / "job" / "2") for saved in reported.saved)
    assert (tmp_path / "job" / "2" / reported.saved[-1].name).is_dir()
    assert kills.content(tmp_path / "job" / "some" / "1") == before


def test_by_the_clock(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes after the last saving, and no step earlier; `save_every` overrules the clock."""
    clock = [1000.0]
    monkeypatch.setattr("alignment.training.checkpoints.time.monotonic", lambda: clock[0])
    run = run_of(files, "ppo", tmp_path, save_every=None, save_minutes=2.0)
    inputs = stages.PPOInputs.model_validate(run.inputs)
    checkpoints = Checkpoints.of(Stage.PPO, PPOConfig.model_validate(run.config), inputs, NullReporter())
    clock[0] += 119
    assert not checkpoints.due(1, 10)
    clock[0] += 1
    assert checkpoints.due(2, 10)
    with checkpoints.saving(2, 10) as folder:
        (folder / "file").write_text("weights")
        clock[0] += 60  # saving took a minute
    clock[0] += 119
    assert not checkpoints.due(10, 10)
    clock[0] += 1
    assert checkpoints.due(11, 20)
    always = PPOConfig.model_validate(PPO | {"save_every": 3})
    counted = Checkpoints.of(Stage.PPO, always, inputs, NullReporter())
    clock[0] += 10_000
    assert [step for step in range(1, 10) if counted.due(step, 10)] == [3, 6, 9]


@pytest.mark.parametrize(("name", "room"), [("sft", 60_000), ("sft", 120_000), ("ppo", 200_000)])
def test_a_full_disk_is_named_and_spares_the_checkpoint_before(
    files: Path, tmp_path: Path, name: str, room: int
) -> None:
    """Files of this process may not grow beyond `room` from the first checkpoint on: weights fit, or not even they."""

    class Filling(RecordingReporter):
        def checkpoint(self, saved: SavedCheckpoint) -> None:
            super().checkpoint(saved)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))

    run, reported = run_of(files, name, tmp_path / "checkpoints"), Filling()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(DiskFull) as caught:
            run.into(tmp_path / "out", reported)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "checkpoint-4" in caught.value.cause
    newest = tmp_path / "checkpoints" / reported.saved[-1].name
    assert [path.name for path in newest.parent.iterdir()] == ["checkpoint-2"]
    assert found(run) == newest


def test_the_rate_counts_the_steps_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps in four seconds are half a step a second, however many an earlier attempt took."""
    clock, reported = [1000.0], list[StageProgress]()
    monkeypatch.setattr("alignment.shared.events.time.monotonic", lambda: clock[0])

    class Keeping(NullReporter):
        def progress(self, progress: StageProgress) -> None:
            reported.append(progress)

    meter = Meter(Keeping(), "train", 1000, done=900)
    clock[0] += 4
    meter.step(by=2)
    assert (reported[0].step, reported[0].rate, reported[0].seconds_left) == (902, 0.5, 196.0)
