"""Live monitors of a policy's training: what each curve most likely means, what to do, and when to stop.

    monitor = Monitor(config.alarms, Bounds(max_kl=20.0, min_specificity=0.9), reference_std=1.3)
    for alarm in monitor.observe(curve, evaluations): reporter.note(alarm.sentence, level="warning")

They see the curve (one row an update) and the evaluations at held-out prompts, nothing that a run could not know. A
reward model never says that it is fooled: its score goes on rising. What gives it away is where the policy stands
(KL, scores beyond all that it was trained on, members that disagree) and what responses look like (longer,
repeated, unended, the same whatever is asked). Each alarm is raised once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alignment.shared.policy.guard_config import AlarmConfig, AlarmName

SURE = 2.0  # standard errors by which a held-out objective must have fallen


class Bounds(NamedTuple):
    """Beyond these no policy is kept."""

    max_kl: float  # nats a response, to the SFT policy
    min_specificity: float  # share of what the SFT policy's replies told of their prompts


@dataclass(frozen=True)
class Alarm:
    """Something that a person should know while the run can still be stopped."""

    name: AlarmName
    update: int  # after which it was raised
    found: str  # what was measured
    likely: str  # what it most likely is
    advice: str  # what to do

    @property
    def sentence(self) -> str:
        return f"{self.found} {self.likely} {self.advice}"


@dataclass(frozen=True)
class Standing:
    """An evaluation at held-out prompts, as far as the monitors use it."""

    update: int
    objective: float  # mean of learned score less the price of the KL
    behind: float  # how far that is below the best evaluation's, prompt by prompt
    error: float  # standard error of `behind`
    kept: bool  # the rule took this policy in place of the one that was kept
    specificity: float = 1.0  # what its replies tell of their prompts, as a share of what the first evaluation's told
    fell: bool = False  # that is less, by more than the noise


class Diagnosis(NamedTuple):
    """An alarm without its name and time."""

    found: str
    likely: str
    advice: str


@dataclass(frozen=True)
class View:
    """What the rules read, after an update."""

    curve: Sequence[Mapping[str, float]]
    evaluations: Sequence[Standing]
    config: AlarmConfig
    bounds: Bounds
    reference_std: float | None  # of the reward model's scores on its reference answers

    def first(self, name: str) -> float | None:
        """Mean over the first window; None until a second window can stand beside it."""
        rows = [row[name] for row in self.curve[: self.config.window] if name in row]
        return sum(rows) / len(rows) if rows and len(self.curve) >= 2 * self.config.window else None

    def now(self, name: str) -> float | None:
        """Mean over the last window; None until there is one."""
        rows = [row[name] for row in self.curve[-self.config.window :] if name in row]
        return sum(rows) / len(rows) if rows and len(self.curve) >= self.config.window else None

    def both(self, name: str) -> tuple[float, float] | None:
        """First and last window, where both exist."""
        first, now = self.first(name), self.now(name)
        return None if first is None or now is None else (first, now)


class Monitor:
    """Remembers the alarms of a run. `idle`: updates at first in which no policy learns, so none can be better."""

    def __init__(self, config: AlarmConfig, bounds: Bounds, reference_std: float | None = None, idle: int = 0) -> None:
        self.config, self.bounds, self.reference_std, self.idle = config, bounds, reference_std, idle
        self.alarms: list[Alarm] = []

    def observe(self, curve: Sequence[Mapping[str, float]], evaluations: Sequence[Standing]) -> list[Alarm]:
        """The alarms that the last update raises and that none before it did."""
        view = View(curve, evaluations, self.config, self.bounds, self.reference_std)
        known, update = {alarm.name for alarm in self.alarms}, int(curve[-1]["update"])
        found = ((name, rule(view)) for name, rule in RULES.items() if name not in known)
        new = [Alarm(name, update, *diagnosis) for name, diagnosis in found if diagnosis is not None]
        self.alarms += new
        return new

    def stops(self, evaluations: Sequence[Standing]) -> str | None:
        """Why training ends here by the settings; None: it goes on."""
        for alarm in self.alarms:
            if alarm.name in self.config.stop_on:
                return f"The alarm {alarm.name} of update {alarm.update} ended training (alarms.stop_on). {alarm.found}"
        since = max([self.idle, *(entry.update for entry in evaluations if entry.kept)])
        waited = sum(entry.update > since for entry in evaluations)
        if self.config.patience is not None and waited >= self.config.patience:
            return f"The last {waited} evaluations kept no new policy, which ended training (alarms.patience)."
        return None


def over_optimisation(view: View) -> Diagnosis | None:
    """The score goes up; with the KL taken off, on rollouts or on held-out prompts, it goes down."""
    scores, rewards = view.both("score"), view.both("reward")
    if scores is None or rewards is None or scores[1] <= scores[0]:
        return None
    last = view.evaluations[-1] if view.evaluations else None
    if last is not None and last.behind > SURE * last.error:
        down = (
            f"on held-out prompts the score less the price of the KL is {last.behind:.2f} below the best evaluation's"
        )
    elif rewards[1] < rewards[0]:
        down = f"less the price of the KL it fell from {rewards[0]:.2f} to {rewards[1]:.2f}"
    else:
        return None
    return Diagnosis(
        f"The score rose from {scores[0]:.2f} to {scores[1]:.2f}, but {down}.",
        "The policy most likely exploits the reward model: its last gains are paid for in distance from SFT.",
        "Use the kept policy, raise kl_coef, or rank new samples of this policy and train the reward model again.",
    )


def beyond_reference(view: View) -> Diagnosis | None:
    """Scores above those of the reference answers by more than the reward model could learn from."""
    now = view.now("raw_score")
    if now is None or not view.reference_std or now <= view.config.beyond_reference * view.reference_std:
        return None
    return Diagnosis(
        f"The mean score is {now / view.reference_std:.1f} deviations above that of the reference answers.",
        "The reward model has seen next to nothing there, so its scores most likely stand for little.",
        "Stop here, rank samples of this policy, and train the reward model on them.",
    )


def kl_budget(view: View) -> Diagnosis | None:
    """Rollouts beyond the KL at which policies are never kept."""
    kl = view.curve[-1].get("kl", 0.0)
    if kl <= view.bounds.max_kl:
        return None
    return Diagnosis(
        f"The KL to the SFT policy is {kl:.1f}, max_kl is {view.bounds.max_kl:g}.",
        "The policy has left the texts that the reward model was trained on; no policy from here on is kept.",
        "Stop, or raise kl_coef, or set kl_controller to adaptive with a kl_target below max_kl.",
    )


def length(view: View) -> Diagnosis | None:
    """Responses much longer or shorter than at first."""
    seen, most = view.both("response_length"), view.config.length
    if seen is None or 1 / most < seen[1] / seen[0] < most:
        return None
    grown = seen[1] > seen[0]
    return Diagnosis(
        f"The mean response went from {seen[0]:.0f} to {seen[1]:.0f} tokens.",
        "The reward model most likely pays for length." if grown else "The reward model most likely pays for brevity.",
        "Read samples; look up the length probe in the reward model's report"
        + ("; set length_penalty." if grown else "; rank longer against shorter responses."),
    )


def repetition(view: View) -> Diagnosis | None:
    """Responses that repeat themselves."""
    seen = view.both("repeated_share")
    if seen is None or seen[1] - seen[0] <= view.config.repetition:
        return None
    return Diagnosis(
        f"The share of repeated n-grams went from {seen[0]:.0%} to {seen[1]:.0%}.",
        "The policy most likely found a phrase that the reward model likes each time.",
        "Read samples; set repetition_penalty, or raise kl_coef.",
    )


def sameness(view: View) -> Diagnosis | None:
    """Responses that would answer another prompt nearly as well."""
    last = view.evaluations[-1] if view.evaluations else None
    if last is None or not last.fell or last.specificity >= view.config.sameness:
        return None
    return Diagnosis(
        f"On held-out prompts the responses tell {last.specificity:.0%} of what the SFT policy's told of the "
        "prompt that they answer.",
        "The policy is about to say the same whatever is asked, which a weak reward model takes for an improvement.",
        "Rank such responses beside answers and train the reward model again, or raise kl_coef. No policy below "
        "min_specificity is kept.",
    )


def entropy(view: View) -> Diagnosis | None:
    seen = view.both("entropy")
    if seen is None or seen[1] >= view.config.entropy * seen[0]:
        return None
    return Diagnosis(
        f"The entropy fell from {seen[0]:.2f} to {seen[1]:.2f} nats a token.",
        "The policy gives nearly the same response each time, and little is left to learn from.",
        "Raise kl_coef, set entropy_coef, or lower learning_rate.",
    )


def policy_clipping(view: View) -> Diagnosis | None:
    now = view.now("clip_fraction")
    if now is None or now <= view.config.policy_clipping:
        return None
    return Diagnosis(
        f"{now:.0%} of the tokens are clipped.",
        "The steps are too large for the rollouts that they learn from.",
        "Lower learning_rate or inner_epochs, or set target_kl.",
    )


def value_clipping(view: View) -> Diagnosis | None:
    now = view.now("value_clip_fraction")
    if now is None or now <= view.config.value_clipping:
        return None
    return Diagnosis(
        f"{now:.0%} of the values are clipped.",
        "The critic is held back from returns that lie far from its values.",
        "Raise value_clip_range to the scale of the scores, normalise the scores, or set clip_values to false.",
    )


def critic(view: View) -> Diagnosis | None:
    """A critic that explains less than a constant would."""
    now = view.now("explained_variance")
    if now is None or now >= 0 or len(view.curve) <= view.config.critic_grace:
        return None
    return Diagnosis(
        f"The critic's explained variance is {now:.2f}: a constant would do better.",
        "It has not learned this reward, so the advantages are mostly noise.",
        "Raise critic_learning_rate or vf_coef, or give it larger batches.",
    )


def disagreement(view: View) -> Diagnosis | None:
    """The ensemble's members part where they were not trained."""
    seen = view.both("disagreement")
    if seen is None or seen[1] <= view.config.disagreement * seen[0]:
        return None
    return Diagnosis(
        f"The members of the reward model disagree by {seen[1]:.2f}, at first by {seen[0]:.2f}.",
        "The policy writes what none of them was trained on (Coste et al. 2023).",
        "Combine them by 'variance' or 'min', raise kl_coef, or rank samples of this policy.",
    )


def missing_eos(view: View) -> Diagnosis | None:
    """Responses that run into the limit."""
    seen = view.both("finished_share")
    if seen is None or seen[0] - seen[1] <= view.config.missing_eos:
        return None
    return Diagnosis(
        f"{1 - seen[1]:.0%} of the responses do not end, at first {1 - seen[0]:.0%}.",
        "The policy most likely gains by going on, or its stop token was drowned.",
        "Lower missing_eos_score below the usual scores, raise max_response_length, or set length_penalty.",
    )


def engine_gap(view: View) -> Diagnosis | None:
    """The engine's arithmetic is another model's."""
    gap = view.curve[-1].get("engine_gap", 0.0)
    if gap <= view.config.engine_gap:
        return None
    return Diagnosis(
        f"The rollout engine's log-probabilities differ from the model's own by {gap:.2f} nats a token.",
        "The engine most likely does not compute this architecture's attention, so replies come from another policy.",
        "Set rollout_engine to 'generate'.",
    )


RULES: dict[AlarmName, Callable[[View], Diagnosis | None]] = {
    "over_optimisation": over_optimisation,
    "beyond_reference": beyond_reference,
    "kl_budget": kl_budget,
    "length": length,
    "repetition": repetition,
    "sameness": sameness,
    "entropy": entropy,
    "policy_clipping": policy_clipping,
    "value_clipping": value_clipping,
    "critic": critic,
    "disagreement": disagreement,
    "missing_eos": missing_eos,
    "engine_gap": engine_gap,
}
