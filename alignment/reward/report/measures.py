"""Everything that is measured of a reward model once it is trained, as one JSON-ready report.

The stage gives the rankings and a scorer; what is measured here needs neither its batches nor its model.
`alignment.reward.report.advice` puts the numbers into words, `alignment.reward.report.page` writes both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from alignment.reward.report import accuracy as evaluate
from alignment.reward.report import calibration
from alignment.reward.report.accuracy import IntervalEstimate, ScoredPair
from alignment.reward.report.agreement import Agreement, measure_agreement
from alignment.reward.report.lengths import Lengths, measure_lengths
from alignment.reward.report.probes import Scorer, batch_dependence, run_probes
from alignment.shared.records import Prompt, Ranking, canonical_json, sha256_text

PAIRS_KEPT = 500  # held-out pairs whose preference is kept, for reward models to be compared by
TRAIN_SAMPLE = 300  # train rankings that are scored, to tell what was learnt by heart
MemberScorer = Callable[[Sequence[Prompt], Sequence[str]], Sequence[Sequence[float]]]
Rows = list[ScoredPair]


@dataclass(frozen=True)
class ReportData:
    """What the reward stage hands over. Rankings are those that were used, each annotator's own."""

    heldout: Sequence[Ranking]
    train: Sequence[Ranking]
    score: Scorer  # (N,) for N prompts and responses, reference answers at about 0
    score_members: MemberScorer | None = None  # (M, N) of an ensemble
    samples: Sequence[tuple[Prompt, str]] = ()  # what a policy wrote, for the out-of-distribution signal
    counts: Mapping[str, int] = field(default_factory=dict)  # what became of the rankings


def measure(judged: ReportData) -> dict[str, Any]:
    """The report without its words: `metrics` are flat numbers, the rest is what page and advice need."""
    agreement = measure_agreement([*judged.heldout, *judged.train])
    report: dict[str, Any] = {
        "counts": dict(judged.counts),
        "rankings": {"heldout": len(judged.heldout), "train": len(judged.train)},
        "annotators": len({r.annotator for r in (*judged.heldout, *judged.train) if r.annotator}),
        "agreement": asdict(agreement) | {"reachable": agreement.reachable},
        "metrics": _agreement_metrics(agreement),
    }
    train = sorted(judged.train, key=lambda ranking: ranking.prompt.key)[:TRAIN_SAMPLE]
    if train_rows := evaluate.compare(train, score_rankings(judged.score, train)):
        report["train"] = asdict(evaluate.accuracy(train_rows))
        report["metrics"]["train_sample_accuracy"] = report["train"]["value"]
    if rows := _heldout(judged, report):
        report["probes"] = [asdict(probe) for probe in run_probes(judged.heldout, judged.score)]
        report["batch_dependence"] = batch_dependence(judged.heldout, judged.score)
        _slices(report, rows)
    if judged.samples and train:
        report["samples"] = _samples(judged, train)
    if judged.score_members is not None:
        report["ensemble"] = _ensemble(judged, judged.score_members, train)
    return report


def score_rankings(score: Scorer, rankings: Sequence[Ranking]) -> list[list[float]]:
    """The scores of each ranking's K responses; what several annotators judged is scored once."""
    asked = {(r.prompt.key, text): r.prompt for r in rankings for text in r.responses}
    known = dict(zip(asked, score(list(asked.values()), [text for _, text in asked]) if asked else (), strict=True))
    return [[known[r.prompt.key, text] for text in r.responses] for r in rankings]


def preferences(rankings: Sequence[Ranking], scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """For each pair of held-out responses to a prompt, whether the first by its text is preferred: 1, 0, or half.

    By PROMPT-PAIR, fingerprints, the smallest ones of many, so that models that were measured on the same rankings meet
    there.
    """
    found: dict[str, float] = {}
    for ranking, row in zip(rankings, scores, strict=True):
        known = dict(zip(ranking.responses, row, strict=True))
        for first, second in itertools.combinations(sorted(known), 2):
            pair = sha256_text(canonical_json([ranking.prompt.key, first, second]))[:12]
            gap = known[first] - known[second]
            found[f"{sha256_text(ranking.prompt.key)[:12]}-{pair}"] = 0.5 if gap == 0 else float(gap > 0)
    return dict(sorted(found.items())[:PAIRS_KEPT])


def _heldout(judged: ReportData, report: dict[str, Any]) -> Rows:
    """Accuracy, calibration, length and score scale of the held-out rankings into the report; its comparisons."""
    scores = score_rankings(judged.score, judged.heldout)
    rows = evaluate.compare(judged.heldout, scores)
    if not rows:
        return []
    accuracy, lengths = evaluate.accuracy(rows), measure_lengths(rows)
    gaps = torch.tensor([row.gap for row in rows], dtype=torch.float64)
    report["accuracy"], report["lengths"] = asdict(accuracy), asdict(lengths)
    report["calibration"] = {
        "error": calibration.calibration_error(gaps),
        "temperature": calibration.temperature(gaps),
        "curve": [asdict(found) for found in calibration.calibration_curve(gaps)],
    }
    report["scores"] = _scale(judged.heldout, scores)
    report["prefers"] = preferences(judged.heldout, scores)
    report["metrics"] |= _accuracy_metrics(accuracy, gaps) | _length_metrics(lengths)
    return rows


def _slices(report: dict[str, Any], rows: Rows) -> None:
    report["by"] = {
        name: {part: asdict(found) for part, found in evaluate.accuracy_by(rows, key).items()}
        for name, key in SLICES.items()
    }
    report["by"]["length"] = report["lengths"].pop("by_difference")


SLICES: dict[str, Callable[[ScoredPair], str]] = {
    "strength": lambda row: row.strength,
    "criterion": lambda row: row.criterion,
    "annotator": lambda row: row.annotator,
    "language": lambda row: row.language,
}


def _scale(rankings: Sequence[Ranking], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Where held-out scores lie: reference answers (best-ranked) against 0, spread, and how much of it is the prompt's.

    Rankings say nothing of one prompt beside another, so a score that moves with the prompt is drift.
    """
    best = [
        (ranking.prompt.key, value)
        for ranking, row in zip(rankings, scores, strict=True)
        for value, rank in zip(row, ranking.ranks, strict=True)
        if rank == 0
    ]
    flat = torch.tensor([value for row in scores for value in row], dtype=torch.float64)
    within = torch.tensor([value - sum(row) / len(row) for row in scores for value in row], dtype=torch.float64)
    total = float(flat.var(correction=0))
    return {
        "reference": asdict(evaluate.clustered(best, bounds=None)),
        "deviation": total**0.5,
        "between_prompts": 1 - float((within * within).mean()) / total if total > 0 else 0.0,
    }


def _samples(judged: ReportData, train: Sequence[Ranking]) -> dict[str, Any]:
    """Where a policy's samples score beside the responses that the model learnt from."""
    known = torch.tensor([value for row in score_rankings(judged.score, train) for value in row], dtype=torch.float64)
    new = judged.score([prompt for prompt, _ in judged.samples], [text for _, text in judged.samples])
    scores = torch.tensor(list(new), dtype=torch.float64)
    return {
        "n": len(scores),
        "change": float((scores.mean() - known.mean()) / known.std(correction=0).clamp(min=1e-12)),
        "beyond": float((scores > known.max()).double().mean()),
    }


def _ensemble(judged: ReportData, score: MemberScorer, train: Sequence[Ranking]) -> dict[str, Any]:
    """How far members disagree on what they learnt from, on held-out responses, and on a policy's own."""
    texts = [(ranking.prompt, text) for ranking in train for text in ranking.responses]
    members = _score_members(score, texts)
    centre, spread = members.mean(dim=1, keepdim=True), members.std(dim=1, correction=0, keepdim=True).clamp(min=1e-12)

    def disagreement(rows: Sequence[tuple[Prompt, str]]) -> float | None:
        if not rows:
            return None
        return member_disagreement((_score_members(score, rows) - centre) / spread)

    held = [(ranking.prompt, text) for ranking in judged.heldout for text in ranking.responses]
    return {
        "members": len(members),
        "train": member_disagreement((members - centre) / spread),
        "heldout": disagreement(held),
        "samples": disagreement(list(judged.samples)),
    }


def member_disagreement(scores: torch.Tensor) -> float:
    """Mean over responses of the members' standard deviation: `(M, N)`, all members on one scale."""
    return float(scores.std(dim=0, correction=0).mean())


def _score_members(score: MemberScorer, rows: Sequence[tuple[Prompt, str]]) -> torch.Tensor:
    return torch.tensor([list(m) for m in score([p for p, _ in rows], [t for _, t in rows])], dtype=torch.float64)


def _accuracy_metrics(accuracy: IntervalEstimate, gaps: torch.Tensor) -> dict[str, float]:
    return {
        "heldout_accuracy": accuracy.value,
        "heldout_accuracy_low": accuracy.low,
        "heldout_accuracy_high": accuracy.high,
        "heldout_pairs": float(accuracy.n),
        "heldout_prompts": float(accuracy.prompts),
        "heldout_loss": calibration.log_loss(gaps),
        "heldout_calibration_error": calibration.calibration_error(gaps),
    }


def _length_metrics(lengths: Lengths) -> dict[str, float]:
    found = {"longer_rule_accuracy": lengths.longer.value}
    if lengths.spearman is not None:
        found["length_correlation"] = lengths.spearman
    if lengths.balanced is not None:
        found |= _with_interval("length_controlled_accuracy", lengths.balanced)
    return found


def _agreement_metrics(agreement: Agreement) -> dict[str, float]:
    return _with_interval("annotator_agreement", agreement.ceiling) if agreement.ceiling else {}


def _with_interval(name: str, found: IntervalEstimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
