"""One rule for each alarm: what was measured, what it most likely means, and what to do."""

from __future__ import annotations

from collections.abc import Callable

from alignment.ppo.alarms.view import SURE, Diagnosis, View
from alignment.shared.policy.guard_config import AlarmName
from alignment.shared.sentence import Sentence


def over_optimisation(view: View) -> Diagnosis | None:
    """The score goes up; with the KL taken off, on rollouts or on held-out prompts, it goes down."""
    scores, rewards = view.both("score"), view.both("reward")
    if scores is None or rewards is None or scores[1] <= scores[0]:
        return None
    last = view.evaluations[-1] if view.evaluations else None
    if last is not None and last.behind > SURE * last.error:
        english = "on held-out prompts the score less the price of the KL is %(behind)s below the best evaluation's"
        down = Sentence("score-below-the-best", english, behind=f"{last.behind:.2f}")
    elif rewards[1] < rewards[0]:
        english = "less the price of the KL it fell from %(first)s to %(now)s"
        down = Sentence("score-fell-by-kl", english, first=f"{rewards[0]:.2f}", now=f"{rewards[1]:.2f}")
    else:
        return None
    return Diagnosis(
        Sentence(
            "over-optimisation-found",
            "The score rose from %(first)s to %(now)s, but %(down)s.",
            first=f"{scores[0]:.2f}",
            now=f"{scores[1]:.2f}",
            down=down,
        ),
        Sentence(
            "over-optimisation-likely",
            "The policy most likely exploits the reward model: its last gains are paid for in distance from SFT.",
        ),
        Sentence(
            "over-optimisation-advice",
            "Use the kept policy, raise kl_coef, or rank new samples of this policy and train the reward model again.",
        ),
    )


def beyond_reference(view: View) -> Diagnosis | None:
    """Scores above those of the reference answers by more than the reward model could learn from."""
    now = view.now("raw_score")
    if now is None or not view.reference_std or now <= view.config.beyond_reference * view.reference_std:
        return None
    return Diagnosis(
        Sentence(
            "beyond-reference-found",
            "The mean score is %(deviations)s deviations above that of the reference answers.",
            deviations=f"{now / view.reference_std:.1f}",
        ),
        Sentence(
            "beyond-reference-likely",
            "The reward model has seen next to nothing there, so its scores most likely stand for little.",
        ),
        Sentence(
            "beyond-reference-advice", "Stop here, rank samples of this policy, and train the reward model on them."
        ),
    )


def kl_budget(view: View) -> Diagnosis | None:
    """Rollouts beyond the KL at which policies are never kept."""
    kl = view.curve[-1].get("kl", 0.0)
    if kl <= view.bounds.max_kl:
        return None
    return Diagnosis(
        Sentence(
            "kl-budget-found",
            "The KL to the SFT policy is %(kl)s, max_kl is %(most)s.",
            kl=f"{kl:.1f}",
            most=f"{view.bounds.max_kl:g}",
        ),
        Sentence(
            "kl-budget-likely",
            "The policy has left the texts that the reward model was trained on; no policy from here on is kept.",
        ),
        Sentence(
            "kl-budget-advice",
            "Stop, or raise kl_coef, or set kl_controller to adaptive with a kl_target below max_kl.",
        ),
    )


def length(view: View) -> Diagnosis | None:
    """Responses much longer or shorter than at first."""
    seen, most = view.both("response_length"), view.config.length
    if seen is None or 1 / most < seen[1] / seen[0] < most:
        return None
    found = Sentence(
        "length-found",
        "The mean response went from %(first)s to %(now)s tokens.",
        first=f"{seen[0]:.0f}",
        now=f"{seen[1]:.0f}",
    )
    if seen[1] > seen[0]:
        advice = "Read samples; look up the length probe in the reward model's report; set length_penalty."
        likely = Sentence("length-likely-paid", "The reward model most likely pays for length.")
        return Diagnosis(found, likely, Sentence("length-advice-penalty", advice))
    advice = (
        "Read samples; look up the length probe in the reward model's report; rank longer against shorter responses."
    )
    likely = Sentence("brevity-likely-paid", "The reward model most likely pays for brevity.")
    return Diagnosis(found, likely, Sentence("brevity-advice-rank", advice))


def repetition(view: View) -> Diagnosis | None:
    """Responses that repeat themselves."""
    seen = view.both("repeated_share")
    if seen is None or seen[1] - seen[0] <= view.config.repetition:
        return None
    return Diagnosis(
        Sentence(
            "repetition-found",
            "The share of repeated n-grams went from %(first)s to %(now)s.",
            first=f"{seen[0]:.0%}",
            now=f"{seen[1]:.0%}",
        ),
        Sentence("repetition-likely", "The policy most likely found a phrase that the reward model likes each time."),
        Sentence("repetition-advice", "Read samples; set repetition_penalty, or raise kl_coef."),
    )


def sameness(view: View) -> Diagnosis | None:
    """Responses that would answer another prompt nearly as well."""
    last = view.evaluations[-1] if view.evaluations else None
    if last is None or not last.fell or last.specificity >= view.config.sameness:
        return None
    return Diagnosis(
        Sentence(
            "sameness-found",
            "On held-out prompts the responses tell %(share)s of what the SFT policy's told of the prompt that "
            "they answer.",
            share=f"{last.specificity:.0%}",
        ),
        Sentence(
            "sameness-likely",
            "The policy is about to say the same whatever is asked, which a weak reward model takes for an "
            "improvement.",
        ),
        Sentence(
            "sameness-advice",
            "Rank such responses beside answers and train the reward model again, or raise kl_coef. No policy below "
            "min_specificity is kept.",
        ),
    )


def entropy(view: View) -> Diagnosis | None:
    seen = view.both("entropy")
    if seen is None or seen[1] >= view.config.entropy * seen[0]:
        return None
    return Diagnosis(
        Sentence(
            "entropy-found",
            "The entropy fell from %(first)s to %(now)s nats a token.",
            first=f"{seen[0]:.2f}",
            now=f"{seen[1]:.2f}",
        ),
        Sentence(
            "entropy-likely", "The policy gives nearly the same response each time, and little is left to learn from."
        ),
        Sentence("entropy-advice", "Raise kl_coef, set entropy_coef, or lower learning_rate."),
    )


def policy_clipping(view: View) -> Diagnosis | None:
    now = view.now("clip_fraction")
    if now is None or now <= view.config.policy_clipping:
        return None
    return Diagnosis(
        Sentence("policy-clipping-found", "%(share)s of the tokens are clipped.", share=f"{now:.0%}"),
        Sentence("policy-clipping-likely", "The steps are too large for the rollouts that they learn from."),
        Sentence("policy-clipping-advice", "Lower learning_rate or inner_epochs, or set target_kl."),
    )


def value_clipping(view: View) -> Diagnosis | None:
    now = view.now("value_clip_fraction")
    if now is None or now <= view.config.value_clipping:
        return None
    return Diagnosis(
        Sentence("value-clipping-found", "%(share)s of the values are clipped.", share=f"{now:.0%}"),
        Sentence("value-clipping-likely", "The critic is held back from returns that lie far from its values."),
        Sentence(
            "value-clipping-advice",
            "Raise value_clip_range to the scale of the scores, normalise the scores, or set clip_values to false.",
        ),
    )


def critic(view: View) -> Diagnosis | None:
    """A critic that explains less than a constant would."""
    now = view.now("explained_variance")
    if now is None or now >= 0 or len(view.curve) <= view.config.critic_grace:
        return None
    return Diagnosis(
        Sentence(
            "critic-found",
            "The critic's explained variance is %(share)s: a constant would do better.",
            share=f"{now:.2f}",
        ),
        Sentence("critic-likely", "It has not learned this reward, so the advantages are mostly noise."),
        Sentence("critic-advice", "Raise critic_learning_rate or vf_coef, or give it larger batches."),
    )


def disagreement(view: View) -> Diagnosis | None:
    """The ensemble's members part where they were not trained."""
    seen = view.both("disagreement")
    if seen is None or seen[1] <= view.config.disagreement * seen[0]:
        return None
    return Diagnosis(
        Sentence(
            "disagreement-found",
            "The members of the reward model disagree by %(now)s, at first by %(first)s.",
            now=f"{seen[1]:.2f}",
            first=f"{seen[0]:.2f}",
        ),
        Sentence("disagreement-likely", "The policy writes what none of them was trained on (Coste et al. 2023)."),
        Sentence(
            "disagreement-advice", "Combine them by 'variance' or 'min', raise kl_coef, or rank samples of this policy."
        ),
    )


def missing_eos(view: View) -> Diagnosis | None:
    """Responses that run into the limit."""
    seen = view.both("finished_share")
    if seen is None or seen[0] - seen[1] <= view.config.missing_eos:
        return None
    return Diagnosis(
        Sentence(
            "missing-eos-found",
            "%(now)s of the responses do not end, at first %(first)s.",
            now=f"{1 - seen[1]:.0%}",
            first=f"{1 - seen[0]:.0%}",
        ),
        Sentence("missing-eos-likely", "The policy most likely gains by going on, or its stop token was drowned."),
        Sentence(
            "missing-eos-advice",
            "Lower missing_eos_score below the usual scores, raise max_response_length, or set length_penalty.",
        ),
    )


def engine_gap(view: View) -> Diagnosis | None:
    """The engine's arithmetic is another model's."""
    gap = view.curve[-1].get("engine_gap", 0.0)
    if gap <= view.config.engine_gap:
        return None
    return Diagnosis(
        Sentence(
            "engine-gap-found",
            "The rollout engine's log-probabilities differ from the model's own by %(gap)s nats a token.",
            gap=f"{gap:.2f}",
        ),
        Sentence(
            "engine-gap-likely",
            "The engine most likely does not compute this architecture's attention, so replies come from another "
            "policy.",
        ),
        Sentence("engine-gap-advice", "Set rollout_engine to 'generate'."),
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
