"""A reward model's report in words: how far to trust it, and what to do next.

Pure: numbers in, sentences out, the verdict first, then the most pressing. Every threshold has a name.
What concerns single parts (people, criteria, length, probes) is in `findings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alignment.reward.report import remarks
from alignment.reward.report.remarks import Level, Remark, Report, sure
from alignment.shared.config import GateConfig
from alignment.shared.gate import refusals

STRONG = 0.7  # low end of the accuracy above which a model is called strong
FAIR = 0.6
NEAR_CEILING = 0.8  # share of the way from chance to the annotators' agreement
SHORT_OF_CEILING = 0.7
WIDE = 0.05  # half an interval above which more held-out prompts are asked for
WANTED = 0.03  # the half-width that they should give
LOST = 0.1  # share of the rankings that were too long
BY_HEART = 0.12  # train accuracy above held-out accuracy
ORDER: dict[Level, int] = {"bad": 0, "warn": 1, "note": 2, "good": 3}


def advise(report: Report, settings: GateConfig | None = None) -> list[Remark]:
    """All that the numbers say: the verdict, then the rest, worst first."""
    refused = refusals(report["metrics"], settings or GateConfig())
    parts = (ceiling, learning, lost, size, *remarks.ALL)
    words = [word for speak in parts for word in speak(report)]
    return [verdict(report, refused, words), *sorted(words, key=lambda word: ORDER[word.level])]


def verdict(report: Report, refused: Sequence[str], words: Sequence[Remark]) -> Remark:
    """How far to trust it, in one or two sentences."""
    found = report.get("accuracy")
    if found is None:
        return Remark("trust", "bad", "Nothing is known of how good this model is: no comparison was held out.",
                    "Set heldout_fraction above 0, or rank more prompts.")  # fmt: skip
    measured = (
        f"It orders {sure(found)} of {found['n']} held-out comparisons ({found['prompts']} prompts) as people did."
    )
    if refused:
        why = " ".join(refused)
        return Remark("trust", "bad", f"Do not optimise against this model. {measured} {why}", "PPO refuses it.")
    gamed = any(word.about == "probes" and word.level == "warn" for word in words)
    reached = share_of_ceiling(report)
    strong = found["low"] >= STRONG or (reached is not None and reached >= NEAR_CEILING)
    if strong and not gamed:
        return Remark("trust", "good", f"This model can be optimised against, on a KL leash. {measured}")
    if strong or found["low"] >= FAIR:
        how = " It can be gamed, as the probes show." if gamed else ""
        return Remark("trust", "note", f"This model can be trusted for small steps. {measured}{how}",
                    "Keep kl_coef at its default or above, and read samples as PPO goes.")  # fmt: skip
    return Remark("trust", "warn", f"This model knows a little. {measured}",
                "Raise kl_coef, make few updates, and judge the policy blind before it is used.")  # fmt: skip


def share_of_ceiling(report: Report) -> float | None:
    """How far the model came from chance to the annotators' agreement; None where that is unknown or chance."""
    known = report["agreement"]["ceiling"]
    if known is None or report.get("accuracy") is None or known["low"] <= 0.5:
        return None
    return float((report["accuracy"]["value"] - 0.5) / (known["value"] - 0.5))


def ceiling(report: Report) -> Iterator[Remark]:
    """What people reach on the same pairs."""
    known = report["agreement"]["ceiling"]
    if known is None:
        yield Remark("ceiling", "note", "The human ceiling is unknown: no two annotators judged the same responses.",
                   "Let two people judge some of the tasks (a project's overlap).")  # fmt: skip
        return
    text = f"One annotator foretells another in {sure(known)} of {known['n']} cases in which both judged the same pair."
    others = report["agreement"]["without_flagged"]
    if known["low"] <= 0.5 and (others is None or others["low"] <= 0.5):
        yield Remark("ceiling", "bad", f"{text} That is no better than chance: the labels look random.",
                   "Clear up the guidelines and check the import before you collect more.")  # fmt: skip
        return
    if (reached := share_of_ceiling(report)) is not None:
        text += f" The model has come {max(0.0, reached):.0%} of the way from chance to that."
    if (best := report["agreement"]["reachable"]) > known["value"] + 0.02:
        text += f" It may pass it: were all annotators wrong equally often, a perfect model would reach {best:.0%}."
    yield Remark("ceiling", "note", text)


def learning(report: Report) -> Iterator[Remark]:
    """Learnt by heart, not learnt, or short of what is there: train accuracy beside held-out accuracy."""
    found, train = report.get("accuracy"), report.get("train")
    if found is None or train is None:
        return
    beside = (
        f"It orders {train['value']:.0%} of its train comparisons against {found['value']:.0%} of the held-out ones"
    )
    reached = share_of_ceiling(report)
    if train["value"] > max(found["high"], found["value"] + BY_HEART):
        yield Remark("data", "warn", f"{beside}: much was learnt by heart.",
                   "Rank more different prompts; more epochs would not help.")  # fmt: skip
    elif found["low"] <= 0.5:
        text = (
            f"{beside}: it has found nothing that the rankings prefer. Random labels look like this, and so does "
            "a model that is too small or was trained too short."
        )
        longer = "Train longer, or start from a larger model."
        ask = f"Let two people judge some tasks. If they disagree, mend the guidelines; if they agree: {longer.lower()}"
        yield Remark("data", "bad", text, ask if report["agreement"]["ceiling"] is None else longer)
    elif reached is not None and reached < SHORT_OF_CEILING:
        yield Remark("data", "note", f"{beside}, and people agree more than that: it has not learnt all there is.",
                   "Train longer, raise the learning rate, or start from a larger model; then rank more.")  # fmt: skip


def size(report: Report) -> Iterator[Remark]:
    """Whether enough was held out to know."""
    found = report.get("accuracy")
    if found is None or (half := (found["high"] - found["low"]) / 2) <= WIDE:
        return
    wanted = round(found["prompts"] * (half / WANTED) ** 2, -1)
    advice = f"About {wanted:.0f} held-out prompts instead of {found['prompts']} would give {100 * WANTED:.0f}."
    yield Remark("data", "note", f"The accuracy is known to {100 * half:.0f} points either way.", advice)


def lost(report: Report) -> Iterator[Remark]:
    """Whether what was left out changes what the numbers are about."""
    refused, used = (report["counts"].get(name, 0) for name in ("refused", "used"))
    if refused > LOST * (refused + used):
        text = f"{refused} of {refused + used} rankings were left out: a response alone fills max_length."
        advice = (
            "Raise max_length, or take a base model with a longer context; until then trust it on short responses only."
        )
        yield Remark("data", "warn", text, advice)
