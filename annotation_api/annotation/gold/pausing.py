"""When to pause a person whose answers to gold items are wrong too often. Pure: counts in, a yes or no out.

A person is looked at after every gold answer, so an interval that is right for one look would sooner or later pause
everybody. The rule is a test by betting: against "accuracy is at least the bar" it bets on each accuracy below the
bar, evenly, and multiplies what it wins. Under a person at or above the bar each bet is fair or worse, so that the
stake is a supermartingale that begins at 1, and the chance that it ever reaches 1 / 0.05 is at most 0.05, however
often one looks: Ville's inequality (Ville 1939; the mixture is Robbins 1970, "Statistical methods related to the law
of the iterated logarithm"; its place among confidence sequences is Howard et al. 2021, arXiv:1810.08240).
"""

from __future__ import annotations

import math

FALSE_PAUSES = 0.05  # of people at or above the bar, ever
LEAST = 5  # answers before anybody is paused
LARGEST = 700.0  # logarithm of a stake that still is a number


def is_below(bar: float, correct: int, wrong: int) -> bool:
    """Whether the answers show, whenever one looks, that the person's accuracy is below the bar."""
    return correct + wrong >= LEAST and stake(bar, correct, wrong) >= 1 / FALSE_PAUSES


def stake(bar: float, correct: int, wrong: int) -> float:
    """What 1 became by betting against the bar: the mean, over accuracies q below it, of the likelihood ratio
    q^correct (1 - q)^wrong / (bar^correct (1 - bar)^wrong).

    The integral is an incomplete beta function, which for whole numbers is a binomial tail: of n + 1 trials with
    success rate `bar`, the chance of more than `correct` successes.
    """
    n = correct + wrong
    log_beta = math.lgamma(correct + 1) + math.lgamma(wrong + 1) - math.lgamma(n + 2)
    log_null = correct * math.log(bar) + wrong * math.log1p(-bar)
    tail = _log_sum([_log_binomial(n + 1, k, bar) for k in range(correct + 1, n + 2)])
    return math.exp(min(log_beta - log_null - math.log(bar) + tail, LARGEST))


def _log_sum(logs: list[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs))


def _log_binomial(n: int, k: int, p: float) -> float:
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(p) + (n - k) * math.log1p(-p)
