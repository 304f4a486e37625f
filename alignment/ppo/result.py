"""What a policy's training says of itself: rollout samples, divergence, the result, and the files beside the model.

`looks.jsonl` holds every held-out reply of every evaluation, so that whoever has a better judge than the reward model
(people, the toy world's gold scorer) can draw its score beside the learned one.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alignment.data import chat
from alignment.data.batch import Rollout, Sequences
from alignment.ppo.alarms.monitor import Alarm
from alignment.ppo.evaluation import Evaluation, Selection, rule
from alignment.ppo.prompt_set import PromptSet
from alignment.ppo.roles import Roles
from alignment.shared import gate
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import Diverged, StageError
from alignment.shared.events import Reporter, StageResult
from alignment.shared.records import canonical_json
from alignment.shared.sentence import Sentence

EXPLODED = 5.0  # times max_kl: a rollout this far from the reference is lost, not exploring
SHOWN = 4  # rollout samples reported at each update
KEPT_SAMPLES = 24  # held-out prompts whose replies before and after stand in the result
EVALUATIONS = "looks.jsonl"


def sample_rows(roles: Roles, rollout: Rollout) -> list[dict[str, Any]]:
    """A few rows of a rollout as text."""
    return [
        {"prompt": before, "response": after, "score": float(rollout.scores[row])}
        for row, (before, after) in enumerate(_texts(roles, rollout.sequences, SHOWN))
    ]


def side_by_side(
    roles: Roles, prompts: PromptSet, before: Evaluation, after: Evaluation, most: int
) -> list[dict[str, Any]]:
    """The first `most` held-out prompts with the reply of each evaluation, as `Reporter.evaluation` takes them."""
    texts = (_texts(roles, entry.sequences, most) for entry in (before, after))
    return [
        {
            "prompt": prompt.canonical(),
            "before": old,
            "response": new,
            "score_before": float(before.scores[row]),
            "score": float(after.scores[row]),
            "kl": float(after.kl[row]),
        }
        for row, (prompt, (_, old), (_, new)) in enumerate(zip(prompts.heldout_prompts, *texts, strict=False))
    ]


def report_evaluations(
    reporter: Reporter,
    roles: Roles,
    prompts: PromptSet,
    config: PPOConfig | RLOOConfig,
    evaluations: Sequence[Evaluation],
) -> None:
    """Report evaluations of trained policies beside the SFT policy's, with which `evaluations` begins."""
    if config.compare_prompts:
        for entry in evaluations[1:]:
            reporter.evaluation(
                entry.update, side_by_side(roles, prompts, evaluations[0], entry, config.compare_prompts)
            )


def check(metrics: dict[str, float], number: int, config: PPOConfig | RLOOConfig) -> None:
    """Diverged for a metric that is no number or a rollout far beyond `max_kl`."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(
                Sentence(
                    "became-in-update",
                    "%(name)s became %(value)s in update %(number)s.",
                    name=name,
                    value=value,
                    number=number,
                ),
                Sentence("lower-rate-or-raise-kl", "Lower learning_rate or raise kl_coef."),
            )
    if abs(metrics["kl"]) > EXPLODED * config.max_kl:
        raise Diverged(
            Sentence(
                "kl-too-large",
                "The KL to the SFT policy reached %(kl)s in update %(number)s, max_kl is %(max_kl)s.",
                kl=f"{metrics['kl']:.1f}",
                number=number,
                max_kl=f"{config.max_kl:g}",
            ),
            Sentence("lower-rate-kl-or-target", "Lower learning_rate, raise kl_coef or set target_kl."),
        )


def rescued(error: StageError, selection: Selection) -> Sentence:
    """What to say of a run that diverged after a trained policy was kept; any other error is raised again."""
    if not isinstance(error, Diverged) or selection.kept is None or not selection.kept.update:
        raise error
    return Sentence(
        "diverged-after-one-was-kept",
        "%(cause)s Training stopped there; the result is the policy of update %(update)s, kept before. To train "
        "further: %(next_step)s",
        cause=error.cause,
        update=selection.kept.update,
        next_step=error.next_step,
    )


def result_of(
    stage: str,
    roles: Roles,
    prompts: PromptSet,
    config: PPOConfig | RLOOConfig,
    selection: Selection,
    curve: list[dict[str, float]],
    alarms: Sequence[Alarm],
    stopped: Sentence | None,
    decision: gate.Decision,
) -> StageResult:
    """The kept policy's numbers, and what a report needs."""
    first, kept = selection.evaluations[0], selection.kept
    assert kept is not None, "the first evaluation is kept"
    metrics = {
        **kept.metrics(),
        "heldout_score_sft": float(first.scores.mean()),
        "chosen_update": float(kept.update),
        "updates": float(len(curve)),
        "alarms": float(len(alarms)),
    }
    details = {
        "gate": decision.record(),
        "rule": rule(config, len(prompts.heldout)),
        "counts": prompts.counts,
        "stopped": stopped,
        "alarms": [alarm.record() for alarm in alarms],
        "curve": curve,
        "checkpoints": [
            {"step": entry.update, "metrics": entry.metrics(), "chosen": entry is kept}
            for entry in selection.evaluations
        ],
        "samples": _before_and_after(roles, prompts, first, kept),
    }
    return StageResult(stage, metrics, details)


def write_files(
    out_dir: Path, roles: Roles, prompts: PromptSet, selection: Selection, result: StageResult, reporter: Reporter
) -> None:
    """`looks.jsonl` and `ppo_report.html` into the model's folder; no page where matplotlib is not installed."""
    rows = list(_evaluation_rows(roles, prompts, selection))
    with (out_dir / EVALUATIONS).open("w", encoding="utf-8") as file:
        file.writelines(canonical_json(row) + "\n" for row in rows)
    if importlib.util.find_spec("matplotlib") is None:  # a bare machine needs torch and transformers alone
        english = "matplotlib is not installed: ppo_report.html was not drawn."
        reporter.note(Sentence("report-not-drawn", english))
        return
    from alignment.ppo import report as ppo_report

    ppo_report.write(out_dir, result, rows)


def _evaluation_rows(roles: Roles, prompts: PromptSet, selection: Selection) -> Iterator[dict[str, Any]]:
    """Every reply of every evaluation, with what the learned judge and the KL say of it."""
    for entry in selection.evaluations:
        texts = _texts(roles, entry.sequences, len(entry.sequences))
        for row, (prompt, (_, response)) in enumerate(
            zip(itertools.cycle(prompts.heldout_prompts), texts, strict=False)
        ):
            yield {
                "update": entry.update,
                "chosen": entry is selection.kept,
                "key": prompt.key,
                "prompt": prompt.text,
                "criterion": prompt.criterion,
                "response": response,
                "score": float(entry.scores[row]),
                "kl": float(entry.kl[row]),
                "finished": bool(entry.sequences.finished[row]),
            }


def _before_and_after(roles: Roles, prompts: PromptSet, first: Evaluation, kept: Evaluation) -> list[dict[str, Any]]:
    """Held-out prompts with the SFT policy's and the kept policy's reply, and what the reward model said."""
    before, after = (_texts(roles, entry.sequences, KEPT_SAMPLES) for entry in (first, kept))
    return [
        {
            "prompt": prompt.text,
            "criterion": prompt.criterion,
            "before": old,
            "after": new,
            "score_before": float(first.scores[row]),
            "score_after": float(kept.scores[row]),
        }
        for row, (prompt, (_, old), (_, new)) in enumerate(zip(prompts.heldout_prompts, before, after, strict=False))
    ]


def _texts(roles: Roles, sequences: Sequences, rows: int) -> list[tuple[str, str]]:
    """Prompt and response of the first `rows` rows, decoded."""
    decode = functools.partial(chat.decode, roles.tokenizer)
    return [(decode(prompt), decode(response)) for prompt, response in sequences.split()[:rows]]
