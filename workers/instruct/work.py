"""Self-instruct: from seed tasks to many, round by round (Wang et al. 2023).

A round shows a model some tasks, has it go on with new ones, leaves out what is too short, too long, impossible or like
what is there, and asks for an input and an output of each that stays. Rounds are written down as they end: a job that
was killed goes on from the last.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from alignment.shared.config import InstructConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Meter, Paused, Reporter, StageResult
from alignment.shared.records import Demonstration, Prompt, Record, read_jsonl
from alignment.shared.sentence import Sentence, counted
from alignment.shared.stages import InstructInputs
from workers.instruct import sift, wording
from workers.instruct.journal import Rounds
from workers.preparation.report import StepReport
from workers.preparation.work import PREPARED, REPORT

FILTERS = ("length", "wording", "likeness", "answer")  # in the order in which a proposal passes them
FILTER_OF = {sift.SHORT: "length", sift.LONG: "length", sift.LIKE: "likeness"}
NO_CASE = "has no input and output that can be told apart"


class Answering(Protocol):
    """Who answers."""

    name: str

    def __call__(self, requests: Sequence[str], turn: int) -> list[str]: ...


@dataclass
class MadeSoFar:
    """What there is after some rounds."""

    config: InstructConfig
    seeds: list[str]
    library: sift.Library
    items: list[dict[str, Any]] = field(default_factory=list)  # instruction, input, output, round
    left_out: list[tuple[str, str]] = field(default_factory=list)  # reason and text
    rounds: int = 0
    idle: int = 0  # rounds without a new one, in a row

    def take(self, entry: dict[str, Any]) -> None:
        """A round, made now or by an earlier attempt."""
        for text in entry["known"]:
            self.library.keep(text)
        self.items += entry["items"]
        self.left_out += [(reason, text) for reason, text in entry["left_out"]]
        self.rounds = entry["round"]
        self.idle = 0 if entry["items"] else self.idle + 1


def instruct(
    config: InstructConfig, inputs: InstructInputs, out_dir: Path, reporter: Reporter, answering: Answering
) -> StageResult:
    """Raises BadInput when nothing was made, and Paused when that was asked for: the rounds are kept."""
    made = _begin(config, inputs.seeds)
    rounds = Rounds(inputs.checkpoints, inputs.resume_from)
    for entry in rounds:
        made.take(entry)
    meter = Meter(reporter, "instruct", config.count, done=min(len(made.items), config.count))
    while len(made.items) < config.count and made.idle < config.patience:
        if reporter.paused() and inputs.checkpoints is not None:
            raise Paused("The rounds so far are kept.")
        before = len(made.items)
        entry = _round(made, answering)
        rounds.write(entry)
        made.take(entry)
        meter.step({"round": float(made.rounds)}, by=min(len(made.items), config.count) - before)
    if len(made.items) < config.count:
        said = counted(
            "rounds-gave-nothing",
            "%(rounds)s rounds gave nothing new: %(n)s was made.",
            "%(rounds)s rounds gave nothing new: %(n)s were made.",
            n=len(made.items),
            rounds=config.patience,
        )
        reporter.note(said, level="warning")
    return _finish(made, out_dir, answering)


def _begin(config: InstructConfig, path: Path) -> MadeSoFar:
    seeds = list(dict.fromkeys(_task(seed.prompt) for seed in read_jsonl(path, Demonstration)))
    made = MadeSoFar(config, seeds, sift.Library(config.likeness))
    for seed in seeds:
        made.library.keep(seed)
    return made


def _task(prompt: Prompt) -> str:
    """What the last turn asks; an input stands behind an empty line (datasets/formats/shapes/chats.py)."""
    return prompt.request.partition("\n\n")[0]


def _round(made: MadeSoFar, answering: Answering) -> dict[str, Any]:
    config, number = made.config, made.rounds + 1
    rng = random.Random(f"{config.seed} {number}")
    requests = [wording.request(config.language, _shown(made, rng)) for _ in range(config.requests)]
    proposed = [
        text for answer in answering(requests, 2 * number) for text in wording.instructions(config.language, answer)
    ]
    fit, left_out = _sifted(made, proposed)
    asked = [wording.case_request(config.language, text) for text in fit]
    items = []
    for text, answer in zip(fit, answering(asked, 2 * number + 1) if asked else [], strict=True):
        case = wording.case_of(config.language, answer)
        if case is None:
            left_out.append((NO_CASE, text))
        else:
            items.append({"instruction": text, "input": case[0], "output": case[1], "round": number})
    return {"round": number, "known": fit, "items": items, "left_out": left_out}


def _shown(made: MadeSoFar, rng: random.Random) -> list[str]:
    """Three quarters from the seeds, the rest from what was made."""
    grown = min(made.config.shown // 4, len(made.items))
    own = min(made.config.shown - grown, len(made.seeds))
    shown = rng.sample(made.seeds, own) + [item["instruction"] for item in rng.sample(made.items, grown)]
    rng.shuffle(shown)
    return shown


def _sifted(made: MadeSoFar, proposed: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Those that stay, each new beside the others of its round, too; and why the others go."""
    fit: list[str] = []
    left_out = []
    this_round = sift.Library(made.config.likeness)
    for text in proposed:
        reason = sift.unfit(text, made.config)
        if reason is None and (made.library.holds_like(text) or this_round.holds_like(text)):
            reason = sift.LIKE
        if reason is None:
            this_round.keep(text)
            fit.append(text)
        else:
            left_out.append((reason, text))
    return fit, left_out


def _finish(made: MadeSoFar, out_dir: Path, answering: Answering) -> StageResult:
    kept = made.items[: made.config.count]
    if not kept:
        reasons = "; ".join(sorted({reason for reason, _ in made.left_out})) or "the answers held no task"
        cause = Sentence(
            "nothing-made", "Nothing was made in %(rounds)s rounds: %(reasons)s.", rounds=made.rounds, reasons=reasons
        )
        raise BadInput(
            cause, Sentence("name-instruct-model", "Name a model that follows instructions, or loosen the filters.")
        )
    with (out_dir / PREPARED).open("w", encoding="utf-8") as file:
        file.writelines(_record(made.config, item, answering.name).canonical() + "\n" for item in kept)
    told = _report(made, len(kept))
    (out_dir / REPORT).write_text(json.dumps(told, ensure_ascii=False, indent=1), "utf-8")
    metrics = {"before": float(told["before"]), "after": float(len(kept)), "rounds": float(made.rounds)}
    return StageResult("instruct", metrics, {"preparation": told})


def _record(config: InstructConfig, item: dict[str, Any], teacher: str) -> Record:
    asked = "\n\n".join(filter(None, (item["instruction"], item["input"])))
    prompt = Prompt.from_text(asked, language=config.language)
    if config.makes == "prompts":
        return prompt
    lineage = {"source": "self-instruct", "teacher": teacher, "round": str(item["round"])}
    return Demonstration(prompt=prompt, response=item["output"], lineage=lineage)


def _report(made: MadeSoFar, kept: int) -> dict[str, Any]:
    """As a preparation's: how many proposals each filter saw and left out, with examples."""
    before = left = len(made.items) + len(made.left_out)
    steps = []
    for name in FILTERS:
        step = StepReport(name, before=left)
        for row, (reason, text) in enumerate(made.left_out, start=1):
            if name == ("answer" if reason == NO_CASE else FILTER_OF.get(reason, "wording")):
                step.leave_out(row, reason, text)
        left -= step.left_out.total()
        steps.append(step.as_dict())
    return {"before": before, "after": kept, "steps": steps, "groups": {}}
