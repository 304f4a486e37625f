"""What must stay the same when only the layout of the code changes, as hashes.

    python -m tests.support.fingerprint > before.json

Three toy models trained from the command line with a fixed seed on one thread, the OpenAPI document, the JSON schema
of every stage's settings, and the help of every command. It goes in by the doors that people use and finds classes by
their names, so it runs before a move of modules and after it. It takes about a minute; run it again to compare.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import runpy
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "sft": "SFTConfig",
    "sample": "SampleConfig",
    "reward": "RewardConfig",
    "ppo": "PPOConfig",
    "rloo": "RLOOConfig",
    "best-of-n": "BestOfNConfig",
    "pretrain": "(?:Pretrain|BaseModel)Config",  # its name before and after the words were put right
}
RUNS = {  # the stage, its inputs below the folder, and what differs from its preset
    "sft": ({"model": "base", "demonstrations": "demonstrations.jsonl"}, {"epochs": 1.0, "batch_size": 16}),
    "reward": ({"model": "sft", "rankings": "rankings.jsonl"}, {"epochs": 1.0}),
    "ppo": (
        {"model": "sft", "reward_model": "reward", "prompts": "few.jsonl"},
        {"updates": 2, "batch_size": 32, "micro_batch_size": 16, "accept_reward_model": "only its hash is looked at"},
    ),
}
RANKINGS, PROMPTS, PRETRAINING_STEPS = 120, 80, 40


class Found(Exception):
    """Carries a command line's parser out of the command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def fingerprint() -> dict[str, Any]:
    """Name to hash, in four parts."""
    with tempfile.TemporaryDirectory() as folder:
        models = dict(_models(Path(folder)))
    return {"models": models, "openapi": _openapi(), "settings": _settings(), "help": dict(_help())}


def _models(folder: Path) -> Iterator[tuple[str, str]]:
    """The weights of a base model and of the three that are trained from it."""
    _alignment("toy", str(folder / "world"), "--seed", "0", "--steps", str(PRETRAINING_STEPS))
    world = folder / "world"
    _write_rankings(world)
    for stage, (inputs, config) in RUNS.items():
        run = {"preset": "toy", "inputs": {name: str(world / path) for name, path in inputs.items()}, "config": config}
        file = world / f"{stage}.toml"
        file.write_text(_toml(run))
        _alignment(stage, str(file), "--out", str(world / stage))
    for weights in sorted(world.rglob("*.safetensors")):
        yield str(weights.relative_to(world)), hashlib.sha256(weights.read_bytes()).hexdigest()


def _alignment(*arguments: str) -> None:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "alignment", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}:\n{done.stderr}")


def _write_rankings(world: Path) -> None:
    """Rankings without a model: of three answers from elsewhere, shorter is better; and fewer prompts."""
    prompts = (world / "prompts.jsonl").read_text("utf-8").splitlines()
    texts = sorted({json.loads(line)["response"] for line in (world / "demonstrations.jsonl").open(encoding="utf-8")})
    draw = random.Random(0)
    with (world / "rankings.jsonl").open("w", encoding="utf-8") as file:
        for line in prompts[:RANKINGS]:
            responses = draw.sample(texts, 3)
            order = sorted(range(3), key=lambda i: (len(responses[i]), responses[i]))
            ranking = {"prompt": json.loads(line), "responses": responses, "groups": [[i] for i in order]}
            file.write(json.dumps(ranking, ensure_ascii=False) + "\n")
    (world / "few.jsonl").write_text("\n".join(prompts[:PROMPTS]) + "\n", "utf-8")


def _toml(run: dict[str, Any]) -> str:
    """Tables of strings and numbers, which JSON writes as TOML does."""
    lines = [f"preset = {json.dumps(run['preset'])}"]
    for table in ("inputs", "config"):
        lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in run[table].items())]
    return "\n".join(lines) + "\n"


def _openapi() -> str:
    """In a process without settings, as `uvicorn annotation_api.app:create_app --factory` makes it."""
    code = "import json; from annotation_api.app import create_app; print(json.dumps(create_app().openapi()))"
    given = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
    given["RANKLOOP_DATABASE_URL"] = "postgresql://nobody@localhost/none"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    return _hash(json.loads(done.stdout.splitlines()[-1]))


def _settings() -> dict[str, str]:
    return {stage: _hash(_class(name).model_json_schema()) for stage, name in SETTINGS.items()}


def _class(name: str) -> Any:
    """The class of that name (a pattern), in whichever module of `alignment` it is written."""
    written = re.compile(rf"^class ({name})\(", re.MULTILINE)
    texts = ((path, path.read_text("utf-8")) for path in (ROOT / "alignment").rglob("*.py"))
    ((path, found),) = [(path, match[1]) for path, text in texts if (match := written.search(text))]
    return getattr(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)), found)


def _help() -> Iterator[tuple[str, str]]:
    """The help of each command, 100 columns wide."""
    os.environ["COLUMNS"] = "100"
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["rankloop"]
    module, _, function = script.partition(":")
    yield from _texts(_parser(lambda: getattr(importlib.import_module(module), function)(["nothing"])))
    yield from _texts(_parser(lambda: runpy.run_module("alignment", run_name="__main__")))


def _parser(command: Callable[[], Any]) -> argparse.ArgumentParser:
    """What the command would have parsed its arguments with."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *_: Any) -> None:
        raise Found(parser)

    argparse.ArgumentParser.parse_args = stop  # type: ignore[assignment,method-assign]
    try:
        command()
    except Found as found:
        return found.parser
    finally:
        argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign]
    raise SystemExit("the command parsed nothing")


def _texts(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    yield parser.prog, _hash(parser.format_help())
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _texts(inner)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


if __name__ == "__main__":
    print(json.dumps(fingerprint(), indent=1))
