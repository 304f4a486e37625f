"""How sure a mean is: the one 95 % interval, in reports, at the gate, in REST and on pages.

It is Wilson's score interval (1927) on means over prompts: what was said of one prompt is not independent, so a prompt
is one observation, a number between the bounds. Wilson takes the spread of the observations to be p (1 - p); here it is
the one that they show, which for ones and zeros is the same. His z^2 / 4 stays: where all prompts say the same, as
three wins of three do, a resample would know no doubt, and this interval is as wide as so few prompts leave it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

Bounds = tuple[float, float]
SHARE: Bounds = (0.0, 1.0)  # within which a share, a win rate or an accuracy lies
Z95 = NormalDist().inv_cdf(0.975)


def interval95(totals: Sequence[float], counts: Sequence[float] | None = None, bounds: Bounds | None = SHARE) -> Bounds:
    """Of sum(totals) / sum(counts), one entry a prompt; without counts it is the mean. `bounds` None: scores have none.

    The error of a ratio is the linearised one (Cochran 1977, eq. 2.39); unequal counts are worth fewer prompts (Kish
    1965, sum^2 / sum of squares). Raises ValueError when nothing was counted.
    """
    each = [1.0] * len(totals) if counts is None else counts
    size = sum(each)
    if not size > 0:
        raise ValueError("nothing was counted")
    value = sum(totals) / size
    variance = math.fsum((total - value * count) ** 2 for total, count in zip(totals, each, strict=True)) / size**2
    return score_interval(value, variance, size**2 / sum(count * count for count in each), bounds)


@dataclass(frozen=True)
class RatioSums:
    """What `interval95` needs of totals and counts, one entry a prompt, as sums: kept up to date by adding to them."""

    total: float = 0.0
    count: float = 0.0
    squares: float = 0.0  # of the totals
    products: float = 0.0  # total times count
    count_squares: float = 0.0
    prompts: int = 0  # entries in which something was counted

    @classmethod
    def of(cls, total: float, count: float) -> RatioSums:
        """One prompt's."""
        return cls.over([(total, count, 1)])

    @classmethod
    def over(cls, prompts: Iterable[tuple[float, float, int]]) -> RatioSums:
        """Of many prompts' (total, count, sign); -1 takes away what was added before."""
        a = b = squares = products = count_squares = 0.0
        entries = 0
        for total, count, sign in prompts:
            a += sign * total
            b += sign * count
            squares += sign * total * total
            products += sign * total * count
            count_squares += sign * count * count
            entries += sign * (count > 0)
        return cls(a, b, squares, products, count_squares, entries)

    @property
    def value(self) -> float:
        return self.total / self.count

    def interval95(self, bounds: Bounds = SHARE) -> Bounds:
        """As the function of this name. Raises ValueError when nothing was counted."""
        if not self.count > 0:
            raise ValueError("nothing was counted")
        spread = self.squares - 2 * self.value * self.products + self.value**2 * self.count_squares
        variance = max(0.0, spread) / self.count**2
        return score_interval(self.value, variance, self.count**2 / self.count_squares, bounds)


def score_interval(value: float, variance: float, prompts: float, bounds: Bounds | None = SHARE) -> Bounds:
    """Of a mean over so many prompts within the bounds; `variance` is the mean's own."""
    if bounds is None:
        half = Z95 * math.sqrt(variance)
        return value - half, value + half
    least, most = bounds
    pull = Z95**2 / prompts  # towards the middle of what can be
    middle = (value + pull * (least + most) / 2) / (1 + pull)
    half = Z95 / (1 + pull) * math.sqrt(variance + (Z95 * (most - least) / (2 * prompts)) ** 2)
    return max(least, middle - half), min(most, middle + half)
