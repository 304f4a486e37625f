"""From the reward model's score to what PPO maximises, by hand."""

import pytest
import torch

from alignment.data.batch import Sequences
from alignment.ppo.score_shaping import repeated_share, shape_scores
from alignment.shared.config import PPOConfig

# Three responses: one that ends, one that was cut off, one that repeats itself.
ROWS = Sequences.join(
    [[3, 4], [3], [3, 4, 5]], [[7, 8, 9, 2], [7, 8, 9, 10, 11, 12], [6, 6, 6, 6, 6, 2]], [True, False, True], 1
)
RAW = torch.tensor([3.0, 5.0, -4.0])


def shaped(mean: float = 0.0, std: float = 1.0, **settings: object) -> list[float]:
    scores: list[float] = shape_scores(RAW, ROWS, PPOConfig.model_validate(settings), mean, std).tolist()
    return scores


def test_a_missing_stop_replaces_subtracts_or_is_let_be() -> None:
    """Huang et al. 2024 replace the score; TRL 1.12 subtracts a penalty from it."""
    assert shaped(missing_eos="replace", missing_eos_score=-2.0) == [3.0, -2.0, -4.0]
    assert shaped(missing_eos="subtract", missing_eos_penalty=1.5) == [3.0, 3.5, -4.0]
    assert shaped(missing_eos="keep") == [3.0, 5.0, -4.0]


def test_scores_are_normalised_then_clipped() -> None:
    assert shaped(mean=1.0, std=2.0, missing_eos="keep") == [1.0, 2.0, -2.5]
    assert shaped(mean=1.0, std=2.0, missing_eos="keep", score_clip=1.5) == [1.0, 1.5, -1.5]


def test_what_replaces_a_score_is_neither_normalised_nor_clipped() -> None:
    assert shaped(mean=1.0, std=2.0, score_clip=1.5, missing_eos_score=-9.0) == [1.0, -9.0, -1.5]


def test_tokens_beyond_the_free_ones_cost() -> None:
    assert shaped(missing_eos="keep", length_penalty=0.5, length_free=4) == [3.0, 4.0, -5.0]


def test_repetition_costs_its_share() -> None:
    """Of the last response's five pairs, 66 stands there four times and 62 once: three of five repeat."""
    assert repeated_share(ROWS, 2).tolist() == pytest.approx([0.0, 0.0, 0.6])
    assert shaped(missing_eos="keep", repetition_penalty=2.0, repetition_ngram=2) == pytest.approx([3.0, 5.0, -5.2])


def test_a_response_shorter_than_an_n_gram_repeats_nothing() -> None:
    assert repeated_share(ROWS, 7).tolist() == [0.0, 0.0, 0.0]


def test_the_guards_come_after_the_clip() -> None:
    """Else a clipped score would hide them."""
    assert shaped(missing_eos="keep", score_clip=1.0, length_penalty=0.25, length_free=4)[1] == pytest.approx(0.5)
