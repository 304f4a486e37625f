"""Agreement: hand-worked tables, published data, and two independent implementations."""

from __future__ import annotations

import math

import krippendorff as oracle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alignment.shared.intervals import RatioSums, interval95
from alignment.shared.judges import kendall
from alignment.shared.judges.krippendorff import Level, alpha, coincidences
from alignment.shared.judges.orders import Order, against_majority, predictions, votes_of

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", data C: four observers, twelve units, gaps.
DATA_C = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
UNITS_C = [[value for value in unit if value is not None] for unit in zip(*DATA_C, strict=True)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("ratio", 0.797)])
def test_alpha_of_the_published_table(level: str, published: float) -> None:
    assert alpha(coincidences(UNITS_C), Level(level)) == pytest.approx(published, abs=0.0005)


def test_alpha_by_hand() -> None:
    """Two people, three units: (a, a), (a, b), (b, b). Coincidences aa 2, ab 1, ba 1, bb 2; n = 6, three of each.
    Observed 2 / 6, expected 2 * 3 * 3 / (6 * 5) = 18 / 30: 1 - (1/3) / (3/5) = 4/9."""
    table = coincidences([("a", "a"), ("a", "b"), ("b", "b")])
    assert table == {("a", "a"): 2, ("a", "b"): 1, ("b", "a"): 1, ("b", "b"): 2}
    assert alpha(table, Level.NOMINAL) == pytest.approx(4 / 9)


def test_alpha_says_nothing_where_nothing_differs() -> None:
    assert alpha({}, Level.NOMINAL) is None
    assert alpha(coincidences([(1, 1), (1, 1, 1)]), Level.ORDINAL) is None


values = st.lists(st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=3, max_size=3), min_size=3, max_size=12)


@pytest.mark.parametrize("level", list(Level))
@given(rows=values)
def test_alpha_is_the_librarys(level: Level, rows: list[list[int | None]]) -> None:
    units = [[value for value in unit if value is not None] for unit in rows]
    mine = alpha(coincidences(units), level)
    paired = [value for unit in units if len(unit) > 1 for value in unit]
    if len(set(paired)) < 2:
        assert mine is None
        return
    table = np.array([[np.nan if v is None else v for v in unit] for unit in rows], dtype=float).T
    theirs = oracle.alpha(reliability_data=table, level_of_measurement=level.value, value_domain=[1, 2, 3, 4, 5])
    assert mine == pytest.approx(theirs, abs=1e-9)


orders = st.integers(2, 7).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, k - 1), min_size=k, max_size=k), min_size=2, max_size=5)
)


@given(orders=orders)
def test_tau_b_is_scipys(orders: list[list[int]]) -> None:
    mine, theirs = kendall.tau_b(orders[0], orders[1]), stats.kendalltau(orders[0], orders[1]).statistic
    assert (mine is None and math.isnan(theirs)) or mine == pytest.approx(theirs, abs=1e-12)


@given(orders=orders)
def test_w_is_what_friedmans_test_says(orders: list[list[int]]) -> None:
    """W = chi^2 / (m (k - 1)), ties included; scipy's needs three items."""
    mine, k = kendall.w(orders), len(orders[0])
    if k < 3 or mine is None:
        return
    chi2 = stats.friedmanchisquare(*np.array(orders).T).statistic
    assert mine == pytest.approx(chi2 / (len(orders) * (k - 1)), abs=1e-9)


def test_w_by_hand() -> None:
    """Three people, three items, one of them ties the first two: sums of ranks 4.5, 4.5 and 9 about 6, so S = 13.5 and
    W = 12 * 13.5 / (9 * 24 - 3 * 6) = 162 / 198."""
    assert kendall.w([(0, 1, 2), (1, 0, 2), (0, 0, 1)]) == pytest.approx(162 / 198)
    assert kendall.w([(0, 1, 2)] * 4) == pytest.approx(1.0)
    assert kendall.w([(0, 1), (1, 0)]) == 0.0
    assert kendall.w([(0, 0), (0, 0)]) is None
    assert kendall.w([(0, 1)]) is None


def test_predictions_by_hand() -> None:
    """a and b agree on (x, y), c ties them: a and b predict each other; c predicts both by half, nobody predicts c."""
    votes = votes_of([Order("a", {"x": 0, "y": 1}), Order("b", {"x": 0, "y": 1}), Order("c", {"x": 0, "y": 0})])
    said = sorted((p.by, p.of, p.right) for p in predictions(votes))
    assert said == [("a", "b", 1.0), ("b", "a", 1.0), ("c", "a", 0.5), ("c", "b", 0.5)]


def test_the_majority_is_of_two_others_or_more() -> None:
    votes = votes_of([Order(name, {"x": 0, "y": 1}) for name in "ab"] + [Order("c", {"x": 1, "y": 0})])
    assert sorted(against_majority(votes)) == [("c", 0.0)]  # of a, the others say one and one
    assert list(against_majority(votes_of([Order("a", {"x": 0, "y": 1}), Order("b", {"x": 0, "y": 1})]))) == []


@given(rows=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=20))
def test_sums_give_the_interval_that_the_entries_give(rows: list[tuple[int, int]]) -> None:
    entries = [(min(total, count), count) for total, count in rows if count]
    added = [(total, count, 1) for total, count in entries]
    sums = RatioSums.over(added)
    if not entries:
        with pytest.raises(ValueError, match="nothing was counted"):
            sums.interval95()
        return
    totals, counts = zip(*entries, strict=True)
    assert sums.interval95() == pytest.approx(interval95(totals, counts), abs=1e-9)
    assert (sums.prompts, sums.value) == (len(entries), sum(totals) / sum(counts))
    back = RatioSums.over([*added, (*entries[0], -1)])
    assert back == RatioSums.over(added[1:])
