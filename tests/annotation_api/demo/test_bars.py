"""What the demo says of the time that is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from annotation_api.demo import bars
from annotation_api.demo.bars import Bar, Whole
from annotation_api.demo.run import PARTS, _step_of


def test_the_whole_is_the_sum_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 60 s and 140 s; 100 s into the run the second is half done, so 65 % are: 54 s are left."""
    monkeypatch.setattr(bars.time, "monotonic", lambda: 1100.0)
    whole = Whole({"first": 60.0, "second": 140.0}, began=1000.0)
    whole.end("first")
    assert whole.share("second", 0.5) == pytest.approx(0.65)
    assert whole.left(whole.share("second", 0.5)) == "about 54 s left"
    assert whole.left(0.01) == ""
    whole.end("second")
    assert whole.share("second") == 1.0
    assert whole.left(1.0) == ""


def test_a_part_that_ends_is_one_line_with_the_share_of_the_whole() -> None:
    out = io.StringIO()
    whole = Whole({"first": 60.0, "second": 140.0})
    with Bar(Console(file=out, width=120), whole, "first") as bar:
        bar.update(1, 2)
    [line] = out.getvalue().splitlines()
    assert line.startswith("first ")
    assert "30% of the whole" in line


def test_the_base_models_step_is_read_from_its_log() -> None:
    assert _step_of("pretrain 20/1500 loss 5\npretrain 300/1500 loss 3.2, 41 s left")[:2] == (300, 1500)
    assert _step_of("Loading")[:2] == (0, None)


def test_every_part_has_a_share() -> None:
    assert all(seconds > 0 for seconds in PARTS.values())
