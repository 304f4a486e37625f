"""`--validate`: what a job would take, for people."""

from __future__ import annotations

from typing import Any

from annotation_api.cli.output import facts, say, size
from annotation_api.cli.problems import told

PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "cache", "rollout_copy")

ON_BASE = "trained with lora from the same base model, it would stand on that."


def print_estimate(answer: dict[str, Any]) -> None:
    """The estimate in a few lines, or every problem with its place."""
    if answer["ok"]:
        _print_one(answer["estimate"])
    else:
        _print_problems(answer["problems"])


def print_estimates(answer: dict[str, Any]) -> None:
    """The same of each stage of a pipeline."""
    if not answer["ok"]:
        _print_problems(answer["problems"])
    for number, (stage, found) in enumerate(answer["estimates"].items()):
        if number:
            say()
        say(f"{stage}:")
        _print_one(found)


def _print_problems(problems: list[dict[str, Any]]) -> None:
    for problem in problems:
        say(told(problem))


def _print_one(found: dict[str, Any]) -> None:
    say(f"This job can be made: {_counted(found['rows'], 'record')}, {_counted(found['steps'], 'step')}.")
    say(f"GPUs: {found['gpus']:g}.")
    say(f"Disk: {_disk(found)}.")
    say(f"Memory: {_memory(found['memory'])}.")
    if apart := (found["memory"] or {}).get("judge_apart"):
        say(f"  of it {size(apart)} since the reward model is no adapter on this policy's base: {ON_BASE}")
    for said, total in (found["memory"] or {}).get("instead", {}).items():
        say(f"  with {said}: {size(total)}.")
    for note in found.get("notes", ()):
        say(f"Note: {note}")
    say("Settings:")
    facts(found["config"])


def _counted(number: int | None, word: str) -> str:
    return f"an unknown number of {word}s" if number is None else f"{number:,} {word}{'s' if number != 1 else ''}"


def _disk(found: dict[str, Any]) -> str:
    if found["disk_bytes"] is None:
        return "unknown until the model that it starts from is there"
    parts = f"result {size(found['artifact_bytes'])}, three checkpoints of {size(found['checkpoint_bytes'])}"
    return f"{size(found['disk_bytes'])} ({parts})" if found["checkpoint_bytes"] else size(found["disk_bytes"])


def _memory(memory: dict[str, Any] | None) -> str:
    if memory is None:
        return "unknown"
    parts = ", ".join(f"{name.replace('_', ' ')} {size(memory[name])}" for name in PARTS if memory.get(name))
    host = f"; {size(memory['host'])} in the host's memory for copies" if memory.get("host") else ""
    return f"about {size(memory['total'])} on the device ({parts}){host}"
