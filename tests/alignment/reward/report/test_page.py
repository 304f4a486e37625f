"""The report's words and page, from scorers whose faults are known."""

import random
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from alignment.reward.report import page as reward_report
from alignment.reward.report.advice import advise
from alignment.reward.report.measures import ReportData, measure, member_disagreement, score_rankings
from alignment.shared import gate
from alignment.shared.records import Prompt, Ranking

pytestmark = pytest.mark.usefixtures("drawn")

HOSTILE = '<script>alert(1)</script>"&'


def rankings(count: int = 60, seed: int = 0, **fields: Any) -> list[Ranking]:
    """Pairs: the first response is the better; lengths are drawn independently of that."""
    rng = random.Random(seed)
    return [
        Ranking(
            prompt=Prompt.from_text(f"Question {seed}-{i}?"),
            responses=(f"good {'x' * rng.randint(1, 60)}", f"bad {'x' * rng.randint(1, 60)}"),
            groups=((0,), (1,)),
            **{name: value(i) if callable(value) else value for name, value in fields.items()},
        )
        for i in range(count)
    ]


def knows(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """Right in nine of ten, by the hash of the prompt; blind to what probes change."""
    return [
        (2.2 if int(p.key[:6], 16) % 10 else -2.2) * (1.0 if "good" in t else 0.0)
        for p, t in zip(prompts, texts, strict=True)
    ]


def words_of(judged: ReportData) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in advise(measure(judged)):
        found.setdefault(word.about, []).append(f"{word.level}: {word.text} {word.next}".strip())
    return found


def test_a_good_model_is_called_good_and_its_numbers_are_flat() -> None:
    judged = ReportData(rankings(200), rankings(200, seed=1), knows)
    words = words_of(judged)
    assert words["trust"][0].startswith("good: This model can be optimised against")
    assert words["length"][0].startswith("good: It measures more than length.")
    metrics = measure(judged)["metrics"]
    assert all(isinstance(value, float) for value in metrics.values())
    assert {"heldout_accuracy", "heldout_accuracy_low", "heldout_accuracy_high", "heldout_pairs"} <= metrics.keys()
    assert metrics["heldout_prompts"] == 200


def test_without_held_out_rankings_it_says_so(tmp_path: Path) -> None:
    report = reward_report.write(tmp_path, ReportData([], rankings(), knows))
    assert report["words"][0]["text"].startswith("Nothing is known of how good this model is")
    assert "heldout_accuracy" not in report["metrics"]
    assert "This reward model is not measured" in (tmp_path / gate.PAGE).read_text()


def test_a_weak_criterion_and_an_unknown_one_are_named() -> None:
    """The scorer is turned round on honest prompts only."""
    held = [r.model_copy(update={"criterion": ("helpful", "honest")[i % 2]}) for i, r in enumerate(rankings(160))]
    held += [r.model_copy(update={"criterion": "harmless"}) for r in rankings(4, seed=5)]
    turned = {r.prompt.key for r in held if r.criterion == "honest"}

    def score(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        return [s if p.key not in turned else 0.0 for p, s in zip(prompts, knows(prompts, texts), strict=True)]

    words = words_of(ReportData(held, [], score))
    assert [text.split(":")[1].strip() for text in words["criterion"]] == [
        "The criterion honest is weak",
        "The criterion harmless is unknown",
    ]


def test_strong_preferences_that_are_ordered_worse_are_pointed_out() -> None:
    held = [r.model_copy(update={"strength": 1 + 3 * (i % 2)}) for i, r in enumerate(rankings(120))]
    strong = {r.prompt.key for r in held if r.strength == 4}

    def score(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        return [float(("good" in t) != (p.key in strong)) for p, t in zip(prompts, texts, strict=True)]

    assert "Strong preferences are ordered worse than weak ones" in words_of(ReportData(held, [], score))["strength"][0]


def test_what_was_learnt_by_heart_is_told_from_what_was_not_learnt() -> None:
    train, held = rankings(100, seed=1), rankings(100)
    known = {r.prompt.key for r in train}

    def by_heart(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        return [
            float("good" in t) if p.key in known else float(len(t) % 7) for p, t in zip(prompts, texts, strict=True)
        ]

    assert "learnt by heart" in " ".join(words_of(ReportData(held, train, by_heart))["data"])
    nothing = words_of(ReportData(held, train, lambda p, t: [float(len(x) % 5) for x in t]))["data"]
    assert "it has found nothing that the rankings prefer" in " ".join(nothing)


def test_a_model_that_can_be_gamed_is_not_called_good() -> None:
    def vain(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        return [s + 5 * ("wonderful" in t) for s, t in zip(knows(prompts, texts), texts, strict=True)]

    words = words_of(ReportData(rankings(200), [], vain))
    assert words["trust"][0].startswith("note: This model can be trusted for small steps.")
    assert "given flattery at its end in 100% of the pairs" in words["probes"][0]


def test_scores_that_drift_with_the_prompt_and_the_place_in_the_batch_are_pointed_out() -> None:
    def drifting(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        return [s + 8 + i / 50 for i, s in enumerate(knows(prompts, texts))]

    words = words_of(ReportData(rankings(80), [], drifting))
    assert "scores drift" in words["scale"][0]
    assert "elsewhere in a batch" in " ".join(words["probes"])


def test_members_that_stray_on_a_policys_samples_are_pointed_out() -> None:
    def members(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[list[float]]:
        own = knows(prompts, texts)
        strange = [4.0 if "strange" in text else 0.01 * len(text) for text in texts]
        return [[s + sign * extra for s, extra in zip(own, strange, strict=True)] for sign in (-1, 1)]

    samples = [(r.prompt, "strange") for r in rankings(20)]
    report = measure(ReportData(rankings(40), rankings(40, seed=1), knows, members, samples))
    assert report["ensemble"]["members"] == 2
    assert report["ensemble"]["samples"] > 1.5 * report["ensemble"]["train"]
    texts = [word.text for word in advise(report) if word.about == "ensemble" and word.level == "warn"]
    assert len(texts) == 1
    assert "on a policy's samples" in texts[0]


def test_samples_that_score_above_all_that_was_learnt_are_pointed_out() -> None:
    def score(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        return [9.0 if "new" in t else s for s, t in zip(knows(prompts, texts), texts, strict=True)]

    samples = [(r.prompt, "new" if i % 4 else "old") for i, r in enumerate(rankings(20))]
    (text,) = words_of(ReportData(rankings(40), rankings(40, seed=1), score, samples=samples))["samples"]
    assert text.startswith("warn: A policy's 20 samples score")
    assert "75% of them above all of those" in text


def test_what_was_too_long_limits_what_is_known() -> None:
    words = words_of(ReportData(rankings(200), [], knows, counts={"used": 80, "refused": 20}))
    assert words["data"][0].startswith("warn: 20 of 100 rankings were left out")
    assert "data" not in words_of(ReportData(rankings(200), [], knows, counts={"used": 95, "refused": 5}))


def test_disagreement_by_hand() -> None:
    """Members at 1 and 3 deviate by 1, at 2 and 2 by 0."""
    import torch

    assert member_disagreement(torch.tensor([[1.0, 2.0], [3.0, 2.0]])) == pytest.approx(0.5)


def test_what_several_people_judged_is_scored_once() -> None:
    asked: list[str] = []

    def score(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        asked.extend(texts)
        return [float(len(text)) for text in texts]

    held = rankings(2)
    assert score_rankings(score, [*held, *held])[2:] == score_rankings(score, held)
    assert len(asked) == 4 + 4


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone_and_escapes_what_came_from_data(tmp_path: Path) -> None:
    names = [f"$name_{i}$ {HOSTILE}" for i in range(3)]
    held = [r for i, name in enumerate(names) for r in rankings(60, annotator=name, strength=1 + i)]
    reward_report.write(tmp_path, ReportData(held, rankings(40, seed=1), knows, counts={"used": 220, "refused": 0}))
    html = (tmp_path / gate.PAGE).read_text()
    page = Page(html)
    assert HOSTILE in page.text
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe")]
    assert not re.search(r'(?:src|href)="(?!#)', html)
    figures = [given for tag, given in page.tags if tag == "svg"]
    assert len(figures) >= 4
    assert all(given["aria-label"] and given["role"] == "img" for given in figures)
    assert html.count("currentColor") > 20  # drawn in the page's colour, dark or light
    assert "prefers-color-scheme: dark" in html


def test_the_same_measures_give_the_same_files(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        reward_report.write(tmp_path / name, ReportData(rankings(), rankings(seed=1), knows))
        files.append([(tmp_path / name / file).read_bytes() for file in (gate.REPORT, gate.PAGE)])
    assert files[0] == files[1]
