"""The one-page report of a policy's training, beside its weights: alarms, curves, evaluations, samples side by side.

    python -m alignment.ppo.report FOLDER [--judged SCORES.jsonl]

The stage writes `ppo_report.html` itself. Drawn again with SCORES.jsonl, rows of {"update": n, "score": x} that a
judge other than the reward model gave to the replies in `looks.jsonl` (people, the toy world's gold scorer), the
page shows that score beside the learned one: where they part, the reward model was over-optimised.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from alignment import plots
from alignment.shared.artifact import RESULT
from alignment.shared.events import StageResult

PAGE = "ppo_report.html"
SIDE_BY_SIDE = 6  # prompts shown of each evaluation
TRACES = {
    "kl": "KL to the SFT policy on rollouts (nats a response).",
    "response_length": "Tokens of a response.",
    "entropy": "Entropy of the policy (nats a token).",
    "explained_variance": "What the critic explains of the returns (1: all; below 0: less than a constant).",
    "clip_fraction": "Share of tokens whose ratio is clipped.",
    "finished_share": "Share of responses that end.",
    "repeated_share": "Share of n-grams that stand in the response before.",
    "heldout_specificity": "What held-out responses tell of their prompts (nats): falls when all get the same.",
    "disagreement": "How far the members of the reward model are apart.",
    "kl_coef": "Weight of the KL.",
}


def write(
    out_dir: Path,
    result: StageResult,
    evaluations: Sequence[Mapping[str, Any]],
    judged: Mapping[int, float] | None = None,
) -> None:
    """The page into `out_dir`; `evaluations`: rows of looks.jsonl; `judged`: another judge's mean by update."""
    (out_dir / PAGE).write_text(page(result, evaluations, judged), encoding="utf-8")


def page(
    result: StageResult, evaluations: Sequence[Mapping[str, Any]], judged: Mapping[int, float] | None = None
) -> str:
    """The report as HTML: no script, every text from data escaped."""
    environment = Environment(
        loader=PackageLoader("alignment"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("ppo_report.html").render(
        stage=result.stage.upper(),
        metrics=result.metrics,
        details=result.details,
        headline=_headline(result),
        figures=list(_figures(result.details, judged or {})),
        pages=list(_pages(evaluations)),
    )


def mean_by_update(rows: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Mean score of each evaluation."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(int(row["update"]), []).append(float(row["score"]))
    return {update: sum(scores) / len(scores) for update, scores in found.items()}


def _headline(result: StageResult) -> tuple[str, str]:
    """Level and sentence."""
    metrics, alarms = result.metrics, result.details["alarms"]
    if not metrics["chosen_update"]:
        return "bad", "No trained policy was better than the SFT policy: the SFT policy is the result"
    chosen = f"The policy of update {metrics['chosen_update']:.0f} of {metrics['updates']:.0f} was kept"
    if alarms:
        return "warn", f"{chosen}; {len(alarms)} {'alarm was' if len(alarms) == 1 else 'alarms were'} raised"
    return "good", f"{chosen}; no alarm was raised"


def _figures(details: Mapping[str, Any], judged: Mapping[int, float]) -> Iterator[dict[str, Any]]:
    curve, evaluations = details["curve"], details["checkpoints"]
    yield _figure(
        lambda axes: plots.evaluations(axes, evaluations, judged),
        "Held-out score by update; the ring is the kept policy." + (" Dashed: another judge's." if judged else ""),
    )
    yield _figure(
        lambda axes: plots.evaluations(axes, evaluations, judged, by_kl=True),
        "What each evaluation gained for its KL; the ring is the kept policy.",
    )
    yield _figure(
        lambda axes: plots.traces(axes, curve, {"score": "score", "reward": "score - kl_coef * KL"}),
        "Score of the rollouts, and what is left of it less the KL.",
    )
    for name, caption in TRACES.items():
        if any(name in row for row in curve):
            yield _figure(lambda axes, name=name: plots.traces(axes, curve, {name: ""}), caption)  # type: ignore[misc]


def _figure(draw: Callable[[Axes], None], caption: str) -> dict[str, Any]:
    return {"svg": Markup(plots.svg(draw, caption)), "caption": caption}


def _pages(evaluations: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each evaluation after the first, some prompts with the SFT policy's reply beside that evaluation's."""
    by_update: dict[int, list[Mapping[str, Any]]] = {}
    for row in evaluations:
        by_update.setdefault(int(row["update"]), []).append(row)
    before = by_update.pop(0, [])
    for update, rows in by_update.items():
        pairs = list(zip(before, rows, strict=True))[:SIDE_BY_SIDE]
        yield {"update": update, "chosen": rows[0]["chosen"], "pairs": pairs}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m alignment.ppo.report", description="Draw the page again.")
    parser.add_argument("folder", type=Path, help="a policy's folder, with result.json and looks.jsonl")
    parser.add_argument("--judged", type=Path, help='JSONL of {"update": n, "score": x} by another judge')
    options = parser.parse_args()
    said = json.loads((options.folder / RESULT).read_text(encoding="utf-8"))
    result = StageResult(said["stage"], said["metrics"], said["details"])
    judged = mean_by_update(_rows(options.judged)) if options.judged else None
    write(options.folder, result, _rows(options.folder / "looks.jsonl"), judged)
    print(options.folder / PAGE)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
