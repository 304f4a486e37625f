"""Metric curves, against points worked by hand."""

from __future__ import annotations

from annotation_api.web.markup.charts import MOST_POINTS, line


def test_a_curve_fills_its_box() -> None:
    drawn = line([[(10, 4.0), (20, 1.0), (30, 2.5)]])
    assert drawn.points == ["0.0,0.0 150.0,90.0 300.0,45.0"]
    assert (drawn.low, drawn.high, drawn.first_step, drawn.last_step) == (1.0, 4.0, 10, 30)


def test_curves_of_one_axis_share_its_span() -> None:
    drawn = line([[(0, 0.0), (10, 1.0)], [(5, 2.0)]])
    assert drawn.points == ["0.0,90.0 300.0,45.0", "150.0,0.0"]
    assert (drawn.low, drawn.high) == (0.0, 2.0)


def test_one_point_stands_in_the_middle() -> None:
    assert line([[(2, 7.0)]]).points == ["150.0,45.0"]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    points = line([[(step, float(step)) for step in range(10_000)]]).points[0].split(" ")
    assert len(points) <= MOST_POINTS + 1
    assert (points[0], points[-1]) == ("0.0,90.0", "300.0,0.0")
