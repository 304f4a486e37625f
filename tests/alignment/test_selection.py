"""The rule that keeps a policy, on made-up looks."""

import pytest
import torch

from alignment.batch import Sequences
from alignment.config import PPOConfig
from alignment.monitors import Bounds
from alignment.selection import Look, replaces, rule, standings

BOUNDS = Bounds(max_kl=20.0, min_variety=0.4)


def look(update: int, scores: list[float], kl: float, variety: float = 50.0) -> Look:
    sequences = Sequences.join([[5]] * len(scores), [[6, 2]] * len(scores), [True] * len(scores), 1)
    return Look(update, sequences, torch.tensor(scores), torch.full((len(scores),), kl), 0.1, variety)


SFT = look(0, [0.0, 1.0, 2.0, 3.0], 0.0)


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
    assert replaces(look(5, scores, kl), SFT, SFT, BOUNDS) is kept


def test_a_policy_that_says_the_same_to_all_is_not_kept_whatever_its_score() -> None:
    """Its variety is measured by the SFT policy's, also when another one was kept meanwhile."""
    looks = [
        SFT,
        look(5, [1.0, 2.0, 3.0, 4.0], 0.0, 25.0),
        look(10, [9.0] * 4, 0.0, 19.9),
        look(15, [9.0] * 4, 0.0, 20),
    ]
    assert [entry.kept for entry in standings(looks, BOUNDS)] == [True, True, False, True]


def test_the_objective_counts_the_kl() -> None:
    entry = look(5, [1.0, 3.0], 5.0)
    assert entry.objectives.tolist() == pytest.approx([0.5, 2.5])
    assert entry.metrics()["heldout_objective"] == pytest.approx(1.5)


def test_the_rule_is_said_in_words() -> None:
    text = rule(PPOConfig(kl_coef=0.07, max_kl=12, evaluate_every=4), 80)
    assert all(
        part in text
        for part in ("4 updates", "80 held-out", "0.07 * KL", "at most 12", "at least 40%", "standard error")
    )
