"""The gold side of the demo, by hand-worked numbers."""

import pytest
from jinja2 import Environment, PackageLoader

from alignment.toyworld.world import build_world
from annotation_api.demo.judge import Reply, count_by_criterion, gold_by_update, standings, win_rate
from annotation_api.demo.report import judge_report

GRADES = {"ppo": [[1.0, 0.0], [0.5, 0.5]], "sft": [[0.0, 0.0], [0.5, 1.0]]}
REPLIES = [
    Reply(prompt, "helpful", model, "text", grade)
    for model, prompts in GRADES.items()
    for prompt, grades in enumerate(prompts)
    for grade in grades
]


def test_every_reply_meets_every_reply_and_ties_count_half() -> None:
    """Prompt 0: 1 beats 0 twice, 0 ties 0 twice: (2 + 1) / 4. Prompt 1: two ties and two losses: 1 / 4."""
    wins = win_rate(REPLIES, "ppo", "sft")
    assert wins.rate == pytest.approx((0.75 + 0.25) / 2)
    assert wins.n == 4


def test_the_interval_is_over_prompts() -> None:
    """Two prompts of 3/4 and 1/4, whatever the number of replies: worked in test_intervals.py."""
    wins = win_rate(REPLIES, "ppo", "sft")
    assert (wins.low, wins.high) == pytest.approx((0.1504, 0.8496), abs=1e-4)


def test_replies_are_counted_by_criterion() -> None:
    assert count_by_criterion(REPLIES, "ppo") == {"helpful": 4}


def test_the_report_says_who_wins_as_the_annotators_see_it() -> None:
    """By the names of the report; a model with too few tasks for an interval has none."""
    numbers = {"comparisons": 9, "wins": 5, "losses": 3, "ties": 1, "strength": 0.2, "name": "x", "group": 1}
    row = {"model": "m2", "elo": 1034.6, "elo_low": 1001.2, "elo_high": 1069.8} | numbers
    other = {"model": "m1", "elo": 965.4, "elo_low": None, "elo_high": None} | numbers
    board = standings({"models": [row, other]}, {"m1": "sft", "m2": "ppo"})
    assert [one["model"] for one in board] == ["ppo", "sft"]
    page = Environment(loader=PackageLoader("annotation_api.demo"), autoescape=True)
    said = page.get_template("leaderboard.html").render(leaderboard=board)
    assert '<td>ppo</td><td class="number">1035</td>' in said
    assert ("1001 to 1070" in said, "too few tasks" in said) == (True, True)


def test_each_evaluation_has_the_mean_gold_of_its_replies() -> None:
    world = build_world(0)
    known = [next(a for a in world.asks.values() if a.value and a.language.tag == tag) for tag in ("en", "zh")]
    rows = [
        {"update": update, "key": ask.prompt.key, "response": ask.value if right else "?"}
        for update, rights in {0: (False, False), 4: (True, False), 8: (True, True)}.items()
        for ask, right in zip(known, rights, strict=True)
    ]
    assert gold_by_update(world, rows) == {0: 0.0, 4: 0.5, 8: 1.0}


@pytest.mark.parametrize(("gain", "low", "aligned"), [(0.3, 0.6, True), (0.3, 0.49, False), (-0.01, 0.6, False)])
def test_alignment_needs_a_gain_and_an_interval_above_half(gain: float, low: float, aligned: bool) -> None:
    level = dict.fromkeys(("helpful", "honest", "harmless", "mean"), 0.5)
    report = {
        "gold": {"base": level, "sft": level, "ppo": {name: value + gain for name, value in level.items()}},
        "win_rate": {"ppo_vs_sft": 0.7, "ci95": [low, 0.8], "n": 900},
        "kl_to_sft": 2.0,
        "rankings": 1440,
    }
    verdict = judge_report(report)
    assert verdict.aligned is aligned
    assert dict(verdict.checks)["1440 rankings (wanted 400 or more)"]
