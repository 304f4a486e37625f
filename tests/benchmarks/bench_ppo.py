"""PPO against TRL 1.12's PPOTrainer on the same work, in one run.

    python -m tests.benchmarks.bench_ppo --rounds 4 [--peer-python VENV/bin/python] [--growth 200]

Both sides stay alive and take updates in turn: theirs, ours, theirs, ours. The ratio is that of each round, in wall
time and in CPU time; the table gives its median and range, where our update's time goes, and each side's peak memory,
with and without what its imports took. The first update of each side is not counted. TRL 1.12 cannot live beside the
TRL that the project needs: without `--peer-python` an environment of its own is made in a temporary folder.
`--growth N` takes N more updates of ours and says how far the memory grew. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.shared.config import PPOConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Prompt, write_jsonl
from alignment.shared.stages import PPOInputs
from tests.benchmarks.peers.ppo import MARK, Border, Work, architecture, clocks, let_stop, words

HERE = Path(__file__).parent


def main() -> None:
    """Print one JSON line a finding."""
    options, work = _options()
    if options.ours:
        run_ours(work)
        return
    sides = {"ours": _side([sys.executable, "-m", "tests.benchmarks.bench_ppo", "--ours"], work)}
    if options.rounds:
        peer = options.peer_python or peer_environment(Path(tempfile.mkdtemp()))
        sides = {"trl": _side([str(peer), str(HERE / "peers" / "ppo.py"), json.dumps(asdict(work))])} | sides
    for side in sides.values():
        _read(side)  # the first update warms up
    rounds = [{name: _next(side) for name, side in sides.items()} for _ in range(options.rounds)]
    if rounds:
        for line in (speed(rounds, work), phases(rounds), memory(rounds[-1])):
            print(json.dumps(line), flush=True)
    if options.growth:
        print(json.dumps(growth(sides["ours"], options.growth)), flush=True)
    for side in sides.values():
        _in(side).close()
        side.wait()


def run_ours(work: Work) -> None:
    """Train as the stage does, from model folders, without end; bench_ppo ends it."""
    from alignment.ppo import loop as ppo_loop
    from alignment.ppo import stage as ppo

    border, spent = Border(), {}
    for phase, (module, name) in {
        "rollout": (ppo_loop, "reply"),
        "score": (ppo, "record"),
        "update": (ppo, "update"),
    }.items():
        setattr(module, name, _timed(getattr(module, name), spent.setdefault(phase, dict.fromkeys(clocks(), 0.0))))

    class AtBorder(NullReporter):
        def progress(self, progress: Any) -> None:
            border.cross(phases={name: dict(seconds) for name, seconds in spent.items()})
            for seconds in spent.values():
                seconds.update(dict.fromkeys(seconds, 0.0))

    config, inputs, out = stage_of(work)
    with models_that_stop(work):
        ppo.train(config, inputs, out, AtBorder())


@contextmanager
def models_that_stop(work: Work) -> Iterator[None]:
    """Within, the stage's policy and reference stop now and then."""
    from alignment.ppo import stage as ppo

    load_roles = ppo.load_roles

    def load(*arguments: Any) -> Any:
        roles = load_roles(*arguments)
        for model in (roles.policy, roles.reference):
            let_stop(model, work)
        return roles

    ppo.load_roles = load
    yield
    ppo.load_roles = load_roles


def stage_of(work: Work, updates: int = 10_000) -> tuple[PPOConfig, PPOInputs, Path]:
    """The settings of our side, its models and prompts, written to a folder of their own, and where its policy goes."""
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    folder = Path(tempfile.mkdtemp(prefix="bench-ppo-"))
    for name, kind in {"sft": LlamaForCausalLM, "reward": LlamaForSequenceClassification}.items():
        kind(architecture(work)).save_pretrained(folder / name)
        words(work).save_pretrained(folder / name)
    texts = (" ".join(f"t{i}" for i in ids) for ids in work.prompts())
    write_jsonl(folder / "prompts.jsonl", [Prompt.from_text(text) for text in texts])
    config = PPOConfig(
        batch_size=work.batch,
        micro_batch_size=work.micro,
        mini_batches=work.minibatches,
        inner_epochs=work.epochs,
        max_response_length=work.response,
        rollout_engine=work.engine,
        missing_eos="subtract",
        learning_rate=1e-6,
        updates=updates,
        evaluate_every=10_000,
        heldout_fraction=0.01,
    )
    inputs = PPOInputs(model=folder / "sft", reward_model=folder / "reward", prompts=folder / "prompts.jsonl")
    return config, inputs, folder / "out"


def speed(rounds: list[dict[str, Any]], work: Work) -> dict[str, Any]:
    """Episodes a second of each side and the ratio of each round, by clock."""
    report: dict[str, Any] = {"rounds": len(rounds), "load": round(os.getloadavg()[0], 2)}
    for clock in clocks():
        rates = {name: [work.batch / turn[name][clock] for turn in rounds] for name in rounds[0]}
        ratios = sorted(ours / theirs for theirs, ours in zip(rates["trl"], rates["ours"], strict=True))
        report[clock] = {f"{name}_episodes_s": round(statistics.median(rate), 2) for name, rate in rates.items()}
        report[clock] |= {"ratio": round(statistics.median(ratios), 2)}
        report[clock] |= {"range": [round(ratios[0], 2), round(ratios[-1], 2)]}
    return report


def phases(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Median seconds of our update's phases. One process has no weights to send; idle is what no phase took."""
    table: dict[str, Any] = {}
    for clock in clocks():
        turns = [turn["ours"] for turn in rounds]
        named = {p: [turn["phases"][p][clock] for turn in turns] for p in turns[0]["phases"]}
        idle = [turn[clock] - sum(turn["phases"][p][clock] for p in named) for turn in turns]
        rows = named | {"sync": [0.0], "idle": idle, "whole": [turn[clock] for turn in turns]}
        table[clock] = {name: round(statistics.median(seconds), 3) for name, seconds in rows.items()}
    return {"our_seconds": table}


def memory(turn: dict[str, Any]) -> dict[str, Any]:
    """Peak MB of each side so far, and what it is above the imports."""
    report = {
        name: {"peak_mb": round(held["peak_mb"]), "above_imports_mb": round(held["peak_mb"] - held["imports_mb"])}
        for name, held in turn.items()
    }
    shares = {key: round(report["ours"][key] / report["trl"][key], 2) for key in report["ours"]}
    return {"memory": report | {"share": shares}}


def growth(ours: subprocess.Popen[str], updates: int) -> dict[str, Any]:
    """Resident MB after a fifth of the updates, when all lengths were seen, and from there to the end."""
    held = [_next(ours)["resident_mb"] for _ in range(updates)]
    return {"updates": updates, "resident_mb": [round(mb) for mb in held[updates // 5 - 1 :: updates // 5]]}


def _timed(work: Callable[..., Any], spent: dict[str, float]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        before = clocks()
        result = work(*arguments, **named)
        for clock, now in clocks().items():
            spent[clock] += now - before[clock]
        return result

    return call


def _side(command: list[str], work: Work | None = None) -> subprocess.Popen[str]:
    named = [] if work is None else [f"--{name.replace('_', '-')}={value}" for name, value in asdict(work).items()]
    return subprocess.Popen(
        command + named, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=tempfile.TemporaryFile("w+"), text=True
    )


def _next(side: subprocess.Popen[str]) -> dict[str, Any]:
    """Let one side take an update; what it said of it."""
    _in(side).write("\n")
    _in(side).flush()
    return _read(side)


def _read(side: subprocess.Popen[str]) -> dict[str, Any]:
    assert side.stdout is not None
    for line in side.stdout:
        if line.startswith(MARK):
            found: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return found
    raise SystemExit(f"{side.args!r} ended early: run it by itself to see why.")


def _in(side: subprocess.Popen[str]) -> IO[str]:
    assert side.stdin is not None
    return side.stdin


def peer_environment(folder: Path) -> Path:
    """An environment with TRL 1.12.0 and our versions of the rest."""
    venv.create(folder, with_pip=True)
    ours = [f"{name}=={version(name).split('+')[0]}" for name in ("torch", "transformers")]
    pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    for needed in (ours[:1], ["trl==1.12.0", *ours]):
        subprocess.run(pip + needed, check=True)
    return folder / "bin/python"


def _options() -> tuple[argparse.Namespace, Work]:
    parser = argparse.ArgumentParser(description=Path(__file__).stem)
    for field in fields(Work):
        kind = str if field.name == "engine" else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.add_argument("--rounds", type=int, default=4, help="pairs of updates; 0: none, TRL is not needed")
    parser.add_argument("--growth", type=int, default=0, help="updates over which our memory is watched")
    parser.add_argument("--peer-python", type=Path, help="of an environment with TRL 1.12.0; unset: one is made")
    parser.add_argument("--ours", action="store_true", help="our side alone, as the run starts it")
    options = parser.parse_args()
    return options, Work(**{field.name: getattr(options, field.name) for field in fields(Work)})


if __name__ == "__main__":
    main()
