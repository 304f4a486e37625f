"""How sure a mean over prompts is. Pure; numpy is loaded when it is asked for: the API seldom needs it."""

from __future__ import annotations

from collections.abc import Sequence

RESAMPLES = 4000


def interval95(scores: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of `scores`, one a prompt: prompts are drawn anew, with the same draws each time.

    What was said of one prompt's replies is not independent, so it goes in as one score.
    """
    import numpy as np

    draws = np.random.default_rng(0).choice(np.array(scores), (RESAMPLES, len(scores))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
