"""The rule that keeps a policy, on made-up evaluations; and what one measures."""

import math
from pathlib import Path

import pytest
import torch

from alignment.data.batch import Sequences
from alignment.ppo.alarms.view import Bounds
from alignment.ppo.evaluation import Evaluation, evaluate, gain_of, replaces, rule, specificity, standings
from alignment.ppo.roles import policy_logprobs, reply
from alignment.shared.config import PPOConfig
from tests.support.alignment.small_ppo import cast_of, replies

BOUNDS = Bounds(max_kl=20.0, min_specificity=0.8)


def evaluated(
    update: int, scores: list[float], kl: float, information: list[float] | None = None, prompts: int = 4
) -> Evaluation:
    sequences = Sequences.join([[5]] * len(scores), [[6, 2]] * len(scores), [True] * len(scores), 1)
    kls = torch.full((len(scores),), kl)
    return Evaluation(
        update, sequences, torch.tensor(scores), kls, torch.tensor(information or [1.0] * len(scores)), 0.1, prompts
    )


SFT = evaluated(0, [0.0, 1.0, 2.0, 3.0], 0.0)


@pytest.mark.parametrize(
    ("scores", "kl", "kept"),
    [
        ([1.0, 2.0, 3.0, 4.0], 5.0, True),  # gains 1 - 0.5 everywhere
        ([1.0, 2.0, 3.0, 4.0], 11.0, False),  # the KL costs more than the score gains
        ([1.0, 2.0, 3.0, 4.0], 0.0, True),
        ([4.0, 1.0, 2.0, 3.0], 0.0, False),  # gains 4, 0, 0, 0: mean 1, standard error 1
        ([4.0, 1.5, 2.0, 3.0], 0.0, True),  # mean 1.125, standard error 0.966
        ([9.0, 9.0, 9.0, 9.0], 20.1, False),  # beyond max_kl, whatever the score
    ],
)
def test_a_policy_replaces_another_only_beyond_the_noise(scores: list[float], kl: float, kept: bool) -> None:
    assert replaces(evaluated(5, scores, kl), SFT, SFT, BOUNDS) is kept


@pytest.mark.parametrize(
    ("information", "same"),
    [
        ([0.7, 0.7, 0.7, 0.7], True),
        ([0.8, 0.8, 0.8, 0.8], False),  # the share that is enough
        ([0.0, 1.0, 1.0, 1.0], False),  # mean 0.75, but the change is -0.25 with a standard error of 0.25
        ([0.4, 0.6, 0.6, 0.6], True),  # -0.45 with 0.05
    ],
)
def test_a_policy_that_says_the_same_to_all_is_not_kept_whatever_its_score(
    information: list[float], same: bool
) -> None:
    entry = evaluated(5, [9.0, 9.0, 9.0, 9.0], 0.0, information)
    assert replaces(entry, SFT, SFT, BOUNDS) is not same


def test_what_replies_tell_is_measured_by_the_sft_policy_also_when_another_was_kept() -> None:
    better, best = [1.0, 2.0, 3.0, 4.0], [9.0] * 4
    evaluations = [
        SFT,
        evaluated(5, better, 0.0, [0.9] * 4),
        evaluated(10, best, 0.0, [0.79] * 4),
        evaluated(15, best, 0.0, [0.8] * 4),
    ]
    found = standings(evaluations, BOUNDS)
    assert [entry.kept for entry in found] == [True, True, False, True]
    assert [entry.fell for entry in found] == [False, True, True, True]
    assert found[2].specificity == pytest.approx(0.79)


def test_where_the_sft_policy_told_nothing_there_is_nothing_to_lose() -> None:
    """A bound of the information may be below 0; a share of that would mean nothing."""
    mute = evaluated(0, [0.0, 1.0, 2.0, 3.0], 0.0, [-0.1] * 4)
    (_, after) = standings([mute, evaluated(5, [1.0, 2.0, 3.0, 4.0], 0.0, [-0.3] * 4)], BOUNDS)
    assert (after.specificity, after.fell, after.kept) == (1.0, False, True)


def test_several_replies_to_a_prompt_are_one_independent_unit() -> None:
    """Twice the same gains are not more certain than once: mean 1, standard error 1."""
    once, twice = evaluated(5, [4.0, 1.0, 2.0, 3.0], 0.0), evaluated(5, [4.0, 1.0, 2.0, 3.0] * 2, 0.0)
    assert twice.objectives.tolist() == once.objectives.tolist()
    assert gain_of(twice, SFT) == gain_of(once, SFT) == (1.0, pytest.approx(1.0))
    assert evaluated(5, [0.0, 0.0, 2.0, 4.0], 0.0, prompts=2).objectives.tolist() == [1.0, 2.0]


def test_the_objective_counts_the_kl() -> None:
    entry = evaluated(5, [1.0, 3.0], 5.0, prompts=2)
    assert entry.objectives.tolist() == pytest.approx([0.5, 2.5])
    assert entry.metrics()["heldout_objective"] == pytest.approx(1.5)


def test_the_rule_is_said_in_words() -> None:
    text = rule(PPOConfig(kl_coef=0.07, max_kl=12, evaluate_every=4), 80)
    assert all(
        part in text
        for part in ("4 updates", "80 held-out", "0.07 * KL", "at most 12", "less than 80%", "standard error")
    )


def test_policies_are_compared_at_the_larger_price_of_kl(folders: Path) -> None:
    """A coefficient that lets training go far does not make the choice as careless."""
    for training, keeping in ((0.01, 0.3), (0.3, 0.01)):
        cast, config = cast_of(folders, kl_coef=training, keep_kl_coef=keeping, evaluate_replies=4)
        assert evaluate(cast, [[3, 10], [4, 12]], 0, config).kl_price == 0.3
        assert "0.3 * KL" in rule(config, 2)


def test_what_a_reply_tells_is_how_much_likelier_its_own_prompt_makes_it(folders: Path) -> None:
    """Against each log-probability taken alone."""
    cast, config = cast_of(folders, temperature=0.3)  # sharp, so that prompts matter
    prompts = [[3, 10, 11], [4, 12], [3, 13, 14, 15], [5, 16], [4, 17, 18]]
    rows = replies(cast, config.model_copy(update={"batch_size": 3}))

    def chance(prompt: list[int], response: list[int]) -> float:
        alone = Sequences.join([prompt], [response], [True], 1)
        return float(policy_logprobs(cast, alone, config).sum())

    own = policy_logprobs(cast, rows, config).sum(dim=1)
    information = specificity(cast, rows, own, prompts, config).tolist()
    for number, (prompt, response) in enumerate(rows.split()):
        others = [prompts[(number + step) % 5] for step in (1, 2, 4)]  # spread over the five
        found = [chance(p, response) for p in [prompt, *others]]
        share = math.exp(found[0]) / sum(map(math.exp, found))
        assert information[number] == pytest.approx(math.log(4 * share), abs=1e-4)
        assert information[number] <= math.log(4)


def test_a_policy_that_does_not_heed_its_prompt_tells_nothing(folders: Path) -> None:
    """With attention off a token depends on the one before it alone, and these prompts end alike."""
    cast, config = cast_of(folders)
    with torch.no_grad():
        for layer in cast.policy.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    prompts = [[3, 10, 9], [4, 12, 9], [3, 13, 14, 9], [5, 16, 9]]
    rows = reply(cast, prompts, config, torch.Generator().manual_seed(0)).sequences
    own = policy_logprobs(cast, rows, config).sum(dim=1)
    assert specificity(cast, rows, own, prompts, config).abs().max() < 1e-5


def test_an_evaluation_asks_each_prompt_as_often_as_its_replies_allow(folders: Path) -> None:
    cast, config = cast_of(folders, evaluate_replies=7)
    prompts = [[3, 10], [4, 12], [5, 13]]
    entry = evaluate(cast, prompts, 0, config)
    assert [prompt for prompt, _ in entry.sequences.split()] == prompts * 2
    assert (len(entry.information), entry.prompts, len(entry.objectives)) == (6, 3, 3)
