"""Single findings of a reward model's report: people, criteria, strengths, length, probes, calibration, scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from alignment.reward.report.probes import SAYS
from alignment.shared.config import GateConfig
from alignment.shared.gate import mostly_length

Level = Literal["bad", "warn", "note", "good"]
Report = Mapping[str, Any]

FEW = 20  # comparisons of a part below which nothing is said
APART = 0.1  # accuracy of a part below the whole
GOES_WITH = 0.5  # rank correlation with length that is worth a warning
PAYS = 0.2  # share of pairs that a probe turns
MOVES = 0.25  # deviations by which the language of one sentence may move a score
SAME = 0.01  # deviations by which a score may move with its place in a batch
UNSURE = 0.05  # calibration error that is worth a sentence
DRIFT = 0.3  # deviations of reference answers from 0
MOSTLY_PROMPT = 0.85  # share of the variance of scores
BEYOND = 0.05  # share of a policy's samples that score above all train responses
STRAYS = 1.5  # members' disagreement on new responses, times that on train ones


@dataclass(frozen=True)
class Remark:
    """One finding, and what follows from it (empty: nothing to do)."""

    about: str
    level: Level
    text: str
    next: str = ""


def sure(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.0%} ({found['low']:.0%} to {found['high']:.0%})"


def people(report: Report) -> Iterator[Remark]:
    """Who agrees with the others clearly less than they do; where nobody shares pairs, with the model."""
    agreement = report["agreement"]
    for person in agreement["people"]:
        if person["flagged"]:
            name, found = person["name"], person["agreement"]
            text = (
                f"{name} agrees with the others {KINDS[person['kind']]}: in {sure(found)} of {found['n']} cases, "
                f"where they agree among themselves in {sure(person['rest'])}."
            )
            yield Remark("annotators", "warn", text, _about(name, person["kind"]))
    if (better := agreement["without_flagged"]) is not None:
        before = agreement["ceiling"]["value"]
        yield Remark(
            "annotators", "note", f"Without those who disagree, agreement is {sure(better)}, not {before:.0%}."
        )
    known = {person["name"] for person in agreement["people"]}
    for name, found in _below(report, "annotator"):
        if name not in known:
            text = (
                f"The model agrees with {name} in {sure(found)} of {found['n']} held-out comparisons, against "
                f"{report['accuracy']['value']:.0%} over all: careless, or of another mind."
            )
            yield Remark("annotators", "warn", text, _about(name, "apart"))
    if not report["annotators"]:
        yield Remark("annotators", "note", "No ranking names its annotator, so a careless one could not be found.")


KINDS = {"careless": "about as a coin would", "contrary": "less than a coin would", "apart": "less than the rest"}


def _about(name: str, kind: str) -> str:
    if kind == "contrary":
        return f"Ask {name} whether best and worst were swapped; until then leave these rankings out."
    return f"Look at some of {name}'s rankings together; weight them by agreement, or leave them out."


def parts(report: Report) -> Iterator[Remark]:
    """Criteria and languages in which the model is weak, or unknown."""
    for kind, more in (("criterion", "Rank more prompts that ask for it."), ("language", "Rank more prompts in it.")):
        for name, found in _below(report, kind):
            whole = report["accuracy"]["value"]
            text = (
                f"The {kind} {name} is weak: {sure(found)} of {found['n']} comparisons, against {whole:.0%} over all."
            )
            yield Remark(kind, "warn", text, more)
        for name, found in _parts(report, kind).items():
            if found["n"] < FEW:
                yield Remark(kind, "note", f"The {kind} {name} is unknown: {found['n']} held-out comparisons.", more)


def strengths(report: Report) -> Iterator[Remark]:
    """Strong preferences should be the easy ones."""
    known = {name: found for name, found in _parts(report, "strength").items() if found["n"] >= FEW}
    if len(known) < 2:
        return
    weak, strong = (known[name] for name in (min(known), max(known)))
    said = f"strong preferences {sure(strong)}, weak ones {sure(weak)}"
    if strong["high"] < weak["value"]:
        advice = "Look at strong comparisons that it gets wrong: labels may be swapped."
        yield Remark("strength", "warn", f"Strong preferences are ordered worse than weak ones: {said}.", advice)
    elif strong["low"] > weak["value"]:
        yield Remark("strength", "good", f"It is right more often where people were surer: {said}.")


def length(report: Report) -> Iterator[Remark]:
    """Whether length is most, much or little of what it measures."""
    if report.get("accuracy") is None:
        return
    found, whole = report["lengths"], report["accuracy"]
    longer, controlled, spearman = found["longer"]["value"], found["balanced"], found["spearman"] or 0.0
    rule, name, other = (longer, "longer", "shorter") if longer >= 0.5 else (1 - longer, "shorter", "longer")
    goes = f"Its scores go with length at a rank correlation of {spearman:+.2f}."
    text = f"Always preferring the {name} would be right in {rule:.0%}."
    if controlled is not None:
        text += f" With length controlled the model is right in {sure(controlled)}."
    if whole["low"] > 0.5 and (why := mostly_length(report["metrics"], GateConfig())):
        advice = f"Rank pairs of about equal length, and pairs in which the {other} response is the better."
        yield Remark("length", "bad", f"{why} {goes}", advice)
    elif rule >= whole["value"]:
        advice = "Rank pairs of about equal length, so that length cannot decide."
        yield Remark("length", "warn", f"A rule that looks at length alone does as well. {text} {goes}", advice)
    elif abs(spearman) >= GOES_WITH:
        advice = "Watch the response length in PPO, and rank pairs of about equal length."
        yield Remark("length", "warn", f"Length is a large part of its score. {text} {goes}", advice)
    else:
        yield Remark("length", "good", f"It measures more than length. {text} {goes}")


def probes(report: Report) -> Iterator[Remark]:
    """What a policy could earn by, and what should not matter but does."""
    found = {probe["name"]: probe for probe in report.get("probes", ())}
    paying = [probe for probe in found.values() if probe["pairs"] >= FEW and probe["overtakes"] >= PAYS]
    known = report.get("accuracy") is not None and report["accuracy"]["low"] > 0.5  # a coin's order cannot be gamed
    if known and paying:
        paying.sort(key=lambda probe: -float(probe["overtakes"]))
        said = ", ".join(f"{SAYS[probe['name']]} in {probe['overtakes']:.0%} of the pairs" for probe in paying)
        text = f"It can be gamed: a worse response passes the better one when it is {said}."
        advice = "Unless people like that too, let them rank such pairs; watch for it in PPO's samples."
        yield Remark("probes", "warn", text, advice)
    elif known and found:
        text = "No probe turns the order of many pairs: formatting, flattery, cuts, repetition, a closing."
        yield Remark("probes", "good", text)
    if {"closing_en", "closing_zh"} <= found.keys():
        english, chinese = (found[name]["change"] for name in ("closing_en", "closing_zh"))
        if abs(chinese - english) >= MOVES:
            text = (
                f"The same closing moves scores by {chinese:+.2f} deviations in Chinese, by {english:+.2f} in English."
            )
            yield Remark("probes", "note", text, "Rank prompts in both languages if the policy may write both.")
    if (moved := report.get("batch_dependence", 0.0)) > SAME:
        text = f"The same response scores differently elsewhere in a batch, by up to {moved:.2g} deviations."
        yield Remark("probes", "bad", text, "Check padding and position ids of the model.")


def calibrated(report: Report) -> Iterator[Remark]:
    """Whether its probabilities mean what they say."""
    if (found := report.get("calibration")) is None:
        return
    text, heat = f"Its probabilities are off by {found['error']:.1%} on average", found["temperature"]
    if report["accuracy"]["low"] <= 0.5:
        return  # no scale makes a coin right
    if found["error"] < UNSURE:
        yield Remark("calibration", "good", f"{text}: it means what it says.")
    elif heat > 1:
        yield Remark("calibration", "note", f"{text}: it is too sure; scores divided by {heat:.1f} would fit best.")
    else:
        yield Remark("calibration", "note", f"{text}: it is too modest; scores times {1 / heat:.1f} would fit best.")


def scale(report: Report) -> Iterator[Remark]:
    """Whether reference answers average 0 on new prompts, too."""
    found = report.get("scores")
    if found is None or not found["deviation"]:
        return
    mean, reference = found["reference"]["value"] / found["deviation"], found["reference"]
    if abs(mean) > DRIFT and reference["prompts"] > 1 and not reference["low"] <= 0 <= reference["high"]:
        text = f"Best answers to held-out prompts average {mean:+.2f} deviations, not 0 as in training: scores drift."
        yield Remark("scale", "note", text, "Compare scores within a prompt only, and set missing_eos_score with care.")
    if found["between_prompts"] > MOSTLY_PROMPT:
        text = (
            f"{found['between_prompts']:.0%} of the spread of its scores lies between prompts, not between responses."
        )
        yield Remark("scale", "note", text, "Compare scores within a prompt only.")


def samples(report: Report) -> Iterator[Remark]:
    """Whether a policy's samples lie where the model has learnt."""
    if (found := report.get("samples")) is None:
        return
    text = (
        f"A policy's {found['n']} samples score {found['change']:+.2f} deviations beside train responses, "
        f"{found['beyond']:.0%} of them above all of those."
    )
    strays = found["beyond"] > BEYOND
    advice = "Rank some of them next: scores up there were never learnt." if strays else ""
    yield Remark("samples", "warn" if strays else "note", text, advice)


def ensemble(report: Report) -> Iterator[Remark]:
    """How far members stray from one another on what they did not learn from."""
    found = report.get("ensemble")
    if found is None or not found["train"]:
        return
    for name, what in (("samples", "a policy's samples"), ("heldout", "held-out responses")):
        if found[name] is not None:
            ratio = found[name] / found["train"]
            text = f"Its {found['members']} members disagree {ratio:.1f} times as much on {what} as on train responses."
            strays = ratio > STRAYS
            yield Remark("ensemble", "warn" if strays else "note", text, "Rank some of these next." if strays else "")


ALL: tuple[Callable[[Report], Iterator[Remark]], ...] = (
    people, parts, strengths, length, probes, calibrated, scale, samples, ensemble,
)  # fmt: skip


def _below(report: Report, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Parts that lie below the whole by APART, and with their interval."""
    if report.get("accuracy") is None:
        return
    whole, found = report["accuracy"]["value"], _parts(report, kind)
    for name, part in found.items():
        if len(found) > 1 and part["n"] >= FEW and part["high"] < whole and part["value"] <= whole - APART:
            yield name, part


def _parts(report: Report, kind: str) -> Mapping[str, Mapping[str, Any]]:
    parts: Mapping[str, Mapping[str, Any]] = report.get("by", {}).get(kind, {})
    return parts
