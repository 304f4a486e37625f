"""Metric curves, against points worked by hand."""

from __future__ import annotations

from annotation_api.web.markup.charts import MOST_POINTS, curves


def test_a_curve_fills_its_box() -> None:
    (curve,) = curves([("loss", 10, 4.0), ("loss", 20, 1.0), ("loss", 30, 2.5)])
    assert curve.points == "0.0,0.0 150.0,90.0 300.0,45.0"
    assert (curve.low, curve.high, curve.last) == (1.0, 4.0, 2.5)
    assert (curve.first_step, curve.last_step) == (10, 30)


def test_missing_values_leave_no_point_and_later_ones_replace_earlier() -> None:
    (curve,) = curves([("a", 1, None), ("a", 2, 5.0), ("a", 2, 7.0), ("b", 1, None)])
    assert curve.points == "150.0,45.0"  # one point stands in the middle
    assert curve.last == 7.0


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    (curve,) = curves([("a", step, float(step)) for step in range(10_000)])
    points = curve.points.split(" ")
    assert len(points) <= MOST_POINTS + 1
    assert (points[0], points[-1]) == ("0.0,90.0", "300.0,0.0")
