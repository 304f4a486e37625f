"""`python -m alignment`: a run file in, a whole folder out, or one clear sentence."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alignment.__main__ import main
from alignment.shared import artifact
from alignment.shared.events import StageProgress
from alignment.terminal import TerminalReporter
from alignment.toyworld import world as toyworld

WEIGHTS = "model.safetensors"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.fixture
def inputs(tiny_base: Path, world_files: dict[str, Path]) -> str:
    files = {"model": tiny_base, "demonstrations": world_files["demonstrations"]}
    return "[inputs]\n" + "".join(f'{name} = "{path}"\n' for name, path in files.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[config]\nlearnin_rate = 0.1\n", "Did you mean 'learning_rate'?"),
        ("[config]\nlearning_rate = 5\n", "/learning_rate"),
        ("[config]\nbatch_size = 12\n", "multiple of micro_batch_size"),
        ("[confg]\n", "Did you mean 'config'?"),
        (
            "preset = 'tpy'\n",
            "There is no preset 'tpy'. Presets: deepspeed_chat, instructgpt, llama2, n_plus, small, toy.",
        ),
        ("[inputs\n", "run.toml"),
    ],
)
def test_a_bad_run_file_is_one_sentence(
    inputs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    top, table = (text, "") if text.startswith("preset") else ("", text)
    assert main(["sft", write(tmp_path / "run.toml", top + inputs + table), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_missing_and_unknown_inputs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sft", write(tmp_path / "a.toml", '[inputs]\nmodel = "m"\ndemonstration = "d"\n')]) == 1
    error = capsys.readouterr().err
    assert "Did you mean 'demonstrations'?" in error
    assert main(["sft", str(tmp_path / "none.toml")]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_a_missing_model_folder_is_one_sentence(
    world_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f'[inputs]\nmodel = "{tmp_path / "gone"}"\ndemonstrations = "{world_files["demonstrations"]}"\n'
    assert main(["sft", write(tmp_path / "run.toml", run), "--out", str(tmp_path / "out")]) == 1
    assert f"model: {tmp_path / 'gone'} does not exist." in capsys.readouterr().err


def test_a_bad_setting_is_refused_before_a_model_library_is_loaded(inputs: str, tmp_path: Path) -> None:
    run = write(tmp_path / "run.toml", inputs + "[config]\nlearnin_rate = 0.1\n")
    code = f"import sys; from alignment.__main__ import main; main(['sft', {run!r}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_stage_leaves_a_whole_folder_and_never_overwrites_it(
    inputs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run.toml", 'preset = "toy"\n' + inputs + "[config]\nmax_length = 96\nepochs = 1\n")
    out = tmp_path / "runs" / "sft"
    assert main(["sft", run, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == str(out)
    assert "/s" in shown.err  # the rate
    assert {"model.safetensors", "result.json", "tokenizer.json"} <= set(artifact.verify(out)["files"])
    result = json.loads((out / "result.json").read_text())
    assert (result["stage"], result["config"]["epochs"], result["config"]["max_length"]) == ("sft", 1.0, 96)
    assert [path.name for path in out.parent.iterdir()] == ["sft"]
    assert main(["sft", run, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "never overwritten" in error
    assert "train" not in error  # refused before the work, not after it


def test_a_failed_stage_leaves_nothing(inputs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run.toml", inputs + "[config]\nmax_length = 8\n")
    assert main(["sft", run, "--out", str(tmp_path / "runs" / "sft")]) == 1
    assert "fits into 8 tokens" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())


def test_ctrl_c_pauses_a_run_with_checkpoints_and_the_same_command_goes_on(
    inputs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "[config]\nmax_length = 96\nepochs = 1\nbatch_size = 32\nmicro_batch_size = 32\n"
    run = write(tmp_path / "run.toml", f'{inputs}checkpoints = "{tmp_path / "checkpoints"}"\n{config}')
    plain = write(tmp_path / "plain.toml", inputs + config)
    show = TerminalReporter.progress

    def interrupted(reporter: TerminalReporter, progress: StageProgress) -> None:
        show(reporter, progress)
        if progress.step == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TerminalReporter, "progress", interrupted)
        assert main(["sft", run, "--out", str(tmp_path / "out")]) == 130
    said = capsys.readouterr().err
    assert "Paused after step 2 of " in said
    assert "The same command goes on from there." in said
    assert not (tmp_path / "out").exists()
    assert main(["sft", run, "--out", str(tmp_path / "out")]) == 0
    assert "Going on from checkpoint-2" in capsys.readouterr().err
    assert main(["sft", plain, "--out", str(tmp_path / "plain")]) == 0
    one, other = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("out", "plain"))
    assert (one["metrics"], one["details"]) == (other["metrics"], other["details"])
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (tmp_path / "plain" / WEIGHTS).read_bytes()


def test_the_toy_world_with_its_base_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tenth of the corpus, most of whose time goes into its tokenizer."""
    monkeypatch.setattr(toyworld, "CHATS", toyworld.CHATS // 10)
    monkeypatch.setattr(toyworld, "STATEMENTS", toyworld.STATEMENTS // 10)
    assert main(["toy", str(tmp_path / "toy"), "--seed", "3", "--steps", "2"]) == 0
    names = {path.name for path in (tmp_path / "toy").iterdir()}
    assert names == {"corpus.jsonl", "demonstrations.jsonl", "prompts.jsonl", "heldout.jsonl", "base"}
    artifact.verify(tmp_path / "toy" / "base")
    assert "pretrain 2/2" in capsys.readouterr().err
    assert main(["toy", str(tmp_path / "other"), "--steps", "0"]) == 1
    assert "/steps" in capsys.readouterr().err


def test_ctrl_c_ends_in_one_sentence_and_leaves_nothing(inputs: str, tmp_path: Path) -> None:
    run = write(tmp_path / "run.toml", inputs + "[config]\nmax_length = 96\nepochs = 1000\n")
    interrupted("train", "sft", run, "--out", str(tmp_path / "runs" / "sft"))
    assert not list((tmp_path / "runs").iterdir())


def interrupted(phase: str, *arguments: str) -> None:
    """The command gets Ctrl-C once it is in that phase; it ends in one sentence."""
    command = [sys.executable, "-m", "alignment", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith(f"{phase} "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 1
    assert f"error: Stopped on request in {phase}" in rest
    assert "Traceback" not in rest


@pytest.mark.deep(reason="the corpus alone takes 13 s, and a stage shows the same of the same code")
def test_ctrl_c_while_a_base_model_is_trained_leaves_none(tmp_path: Path) -> None:
    interrupted("pretrain", "toy", str(tmp_path / "toy"))
    assert not (tmp_path / "toy" / "base").exists()
    assert not [path for path in (tmp_path / "toy").iterdir() if path.is_dir()]
