"""The reward model's losses against numbers worked by hand and an independent Plackett-Luce."""

import itertools
import math

import pytest
import torch

from alignment.maths.losses import ComparedPairs, label_loss, listwise_loss, ranking_loss


def near(actual: torch.Tensor, expected: float) -> None:
    assert float(actual) == pytest.approx(expected, abs=1e-6)


def cost(lead: float) -> float:
    """-log sigmoid(lead), by hand."""
    return math.log1p(math.exp(-lead))


def pairwise(scores: list[float], *pairs: tuple[int, int, float, float, float]) -> torch.Tensor:
    """`ranking_loss` of (better, worse, target, margin, weight)."""
    better, worse, targets, margins, weights = zip(*pairs, strict=True)
    compared = [torch.tensor(each) for each in (better, worse, weights, targets, margins)]
    return ranking_loss(torch.tensor(scores), ComparedPairs(*compared)).loss


def test_two_responses_with_a_margin() -> None:
    """Scores 1.5 and 0.25 with Llama 2's small margin for `better`, 2/3: the lead counts as 1.25 - 2/3."""
    near(pairwise([1.5, 0.25], (0, 1, 1.0, 2 / 3, 1.0)), cost(1.25 - 2 / 3))


def test_two_responses_that_tie() -> None:
    """Half the cost of each order: softplus(2) - 1 at a gap of 2; least, log 2, at none."""
    near(pairwise([2.0, 0.0], (0, 1, 0.5, 0.0, 1.0)), 0.5 * cost(2.0) + 0.5 * cost(-2.0))
    near(pairwise([0.7, 0.7], (0, 1, 0.5, 0.0, 1.0)), math.log(2))


def test_three_responses_with_a_tie_and_a_margin() -> None:
    """One best, two tied below: scores 1, 0.5, -0.5, margin 1/3 on both wins, the tie as a soft label."""
    found = pairwise([1.0, 0.5, -0.5], (0, 1, 1.0, 1 / 3, 1 / 3), (0, 2, 1.0, 1 / 3, 1 / 3), (1, 2, 0.5, 0.0, 1 / 3))
    near(found, (cost(0.5 - 1 / 3) + cost(1.5 - 1 / 3) + 0.5 * cost(1.0) + 0.5 * cost(-1.0)) / 3)


def test_four_responses_in_order_with_a_margin_on_the_best() -> None:
    """Scores 3, 2, 0, -1; the best should lead each of the others by 2/3."""
    scores = [3.0, 2.0, 0.0, -1.0]
    pairs = [(i, j, 1.0, 0.0 if i else 2 / 3, 1 / 6) for i, j in itertools.combinations(range(4), 2)]
    leads = [1 - 2 / 3, 3 - 2 / 3, 4 - 2 / 3, 2.0, 3.0, 1.0]
    near(pairwise(scores, *pairs), sum(map(cost, leads)) / 6)


# What choix 0.4.1 gives for these orders (best first) of scores 0.3, -1.2, 2, 0.7, -0.4:
# -log_likelihood_rankings([order], scores).
SCORES = torch.tensor([0.3, -1.2, 2.0, 0.7, -0.4])
CHOIX = {
    (2, 0, 3, 4, 1): 2.3931940031502186,
    (1, 4, 3, 0, 2): 10.040221225305096,
    (0, 2, 1): 1.941624578115221,
    (3, 0): 0.5130152523999526,
}


@pytest.mark.parametrize("soft_ties", [False, True])
@pytest.mark.parametrize(("order", "expected"), list(CHOIX.items()))
def test_plackett_luce_is_choixs(order: tuple[int, ...], expected: float, soft_ties: bool) -> None:
    ranks = torch.arange(len(order))[None]
    found = listwise_loss(SCORES[list(order)][None], ranks, torch.ones(1), soft_ties=soft_ties)
    near(found, expected / (len(order) - 1))  # ours is the mean over its choices


def test_plackett_luce_of_several_votes_of_unequal_k() -> None:
    """-1 marks what is not there; each vote counts by its weight."""
    scores = torch.tensor([[2.0, 0.3, 0.7, -0.4, -1.2], [0.7, 0.3, 9.0, 9.0, 9.0]])
    ranks = torch.tensor([[0, 1, 2, 3, 4], [0, 1, -1, -1, -1]])
    found = listwise_loss(scores, ranks, torch.tensor([1.0, 3.0]))
    near(found, (2.3931940031502186 / 4 + 3 * 0.5130152523999526) / 4)


def test_plackett_luce_ties_left_out() -> None:
    """Two tied best, one worst: each of the two is chosen against the worst, not against the other."""
    found = listwise_loss(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0, 0, 1]]), torch.ones(1))
    near(found, (cost(2.0) + cost(1.0)) / 2)


def test_plackett_luce_ties_by_efron() -> None:
    """Two tied best of three: the second is chosen when half of the pair has gone (Efron 1977)."""
    a, b, c = math.exp(1.0), math.exp(0.0), math.exp(-1.0)
    expected = (math.log(a + b + c) - 1.0) + (math.log((a + b) / 2 + c) - 0.0)
    found = listwise_loss(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0, 0, 1]]), torch.ones(1), soft_ties=True)
    near(found, expected / 2)


def test_efron_is_near_the_average_over_the_orders_of_the_tie() -> None:
    scores = torch.tensor([[0.2, 0.0, -1.0]])
    efron = listwise_loss(scores, torch.tensor([[0, 0, 1]]), torch.ones(1), soft_ties=True)
    orders = [listwise_loss(scores, torch.tensor([order]), torch.ones(1)) for order in ([0, 1, 2], [1, 0, 2])]
    chance = sum(math.exp(-2 * float(loss)) for loss in orders)  # of either order
    assert float(efron) == pytest.approx(-math.log(chance / 2) / 2, abs=0.01)


def test_a_full_tie_teaches_only_as_a_soft_label() -> None:
    scores = torch.tensor([[1.0, 3.0]], requires_grad=True)
    ranks = torch.tensor([[0, 0]])
    assert float(listwise_loss(scores.detach(), ranks, torch.ones(1))) == 0.0
    listwise_loss(scores, ranks, torch.ones(1), soft_ties=True).backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] < 0 < scores.grad[0, 1]  # towards each other
    assert bool(scores.grad.isfinite().all())


def test_labels_by_hand() -> None:
    """All bad at score 1: softplus(1). A rating of 6 of 7 at score 0: log 2."""
    found = label_loss(
        torch.tensor([1.0, 0.0]), torch.tensor([0, 1]), torch.tensor([0.0, 5 / 6]), torch.tensor([0.1, 0.3]), 2.0
    )
    near(found, (0.1 * math.log1p(math.exp(1.0)) + 0.3 * math.log(2)) / 2)


def test_a_batch_without_comparisons_or_labels_costs_nothing() -> None:
    nothing, whole = torch.zeros(0), torch.zeros(0, dtype=torch.long)
    scores = torch.ones(2, requires_grad=True)
    loss = ranking_loss(scores, ComparedPairs(whole, whole, nothing, nothing, nothing), 0.01, 1.0).loss
    loss = loss + label_loss(scores, whole, nothing, nothing, 1.0)
    loss = loss + listwise_loss(scores[torch.zeros(0, 1, dtype=torch.long)], torch.zeros(0, 1).long(), nothing, 1.0)
    assert float(loss.detach()) == 0.0


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_micro_batches_add_up(cut: int) -> None:
    """Votes of unequal K and weight, cut anywhere: the same loss and gradient."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(4, 5, generator=generator)
    ranks = torch.tensor([[0, 1, 1, 2, -1], [0, 0, 1, -1, -1], [1, 0, 2, 3, 4], [0, 1, -1, -1, -1]])
    weights = torch.tensor([1.0, 0.5, 2.0, 0.25])

    def run(parts: list[slice]) -> tuple[float, torch.Tensor]:
        x = scores.clone().requires_grad_()
        total = 0.0
        for part in parts:
            loss = listwise_loss(x[part], ranks[part], weights[part], weights.sum(), soft_ties=True)
            loss.backward()
            total += float(loss.detach())
        assert x.grad is not None
        return total, x.grad

    whole, pieces = run([slice(0, 4)]), run([slice(0, cut), slice(cut, 4)])
    assert whole[0] == pytest.approx(pieces[0], abs=1e-6)
    torch.testing.assert_close(whole[1], pieces[1], atol=1e-7, rtol=1e-6)
