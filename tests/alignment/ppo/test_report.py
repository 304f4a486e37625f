"""The page of a policy's training: what stands on it, and another judge's score beside the learned one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from alignment.ppo import report as ppo_report
from alignment.shared.events import StageResult

pytestmark = pytest.mark.usefixtures("drawn")


def result(chosen: int = 5, alarms: tuple[dict[str, Any], ...] = ()) -> StageResult:
    evaluations = [
        {
            "step": step,
            "chosen": step == chosen,
            "metrics": {
                "heldout_score": 0.1 * step,
                "heldout_kl": 0.4 * step,
                "heldout_objective": 0.05 * step,
                "heldout_finished_share": 0.9,
                "heldout_response_length": 12.0,
            },
        }
        for step in (0, 5, 10)
    ]
    curve = [
        {"update": float(n), "score": 0.1 * n, "reward": 0.05 * n, "kl": 0.4 * n, "entropy": 2.0, "kl_coef": 0.1}
        for n in range(1, 11)
    ]
    details = {
        "counts": {"heldout": 2},
        "stopped": None,
        "alarms": list(alarms),
        "curve": curve,
        "checkpoints": evaluations,
        "rule": "A rule.",
        "gate": {"outcome": "passed"},
    }
    metrics = {
        "heldout_score": 0.5,
        "heldout_score_sft": 0.0,
        "heldout_kl": 2.0,
        "chosen_update": chosen,
        "updates": 10,
    }
    return StageResult("ppo", metrics, details)


def rows() -> list[dict[str, Any]]:
    return [
        {"update": u, "chosen": u == 5, "prompt": f"ask {i}", "response": f"reply <{u}.{i}>", "score": float(u + i)}
        for u in (0, 5, 10)
        for i in range(2)
    ]


def test_the_page_holds_curves_evaluations_and_samples_side_by_side() -> None:
    page = ppo_report.page(result(), rows())
    assert "The policy of update 5 of 10 was kept; no alarm was raised" in page
    assert page.count("<svg") == 6  # evaluations twice, score and reward, KL, entropy, coefficient
    assert "Entropy of the policy" in page
    assert "explains of the returns" not in page  # nothing was measured
    assert "reply &lt;0.0&gt;" in page  # text from data is escaped
    assert "<script" not in page
    assert page.index("Update 5, kept") < page.index("reply &lt;5.0&gt;") < page.index("Update 10")
    assert page.count("reply &lt;0.1&gt;") == 2  # before, beside each later evaluation


def test_alarms_stand_before_the_curves() -> None:
    alarm = {"name": "kl_budget", "update": 7, "found": "F.", "likely": "L.", "advice": "A.", "sentence": "F. L. A."}
    page = ppo_report.page(result(alarms=(alarm,)), rows())
    assert "1 alarm was raised" in page
    assert page.index("kl budget, update 7") < page.index("Curves")


def test_a_run_that_gained_nothing_says_so() -> None:
    assert "No trained policy was better than the SFT policy" in ppo_report.page(result(chosen=0), rows())


def test_another_judges_score_is_drawn_beside_the_learned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The door for the toy world's gold scorer, and for people: scores by update, from a file."""
    made = result()
    said = {"stage": made.stage, "metrics": made.metrics, "details": made.details}
    (tmp_path / "result.json").write_text(json.dumps(said))
    (tmp_path / "looks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    judged = [{"update": 0, "score": 0.2}, {"update": 5, "score": 0.6}, {"update": 5, "score": 0.4}]
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in judged))
    arguments = ["ppo_report", str(tmp_path), "--judged", str(tmp_path / "gold.jsonl")]
    monkeypatch.setattr(sys, "argv", arguments)
    ppo_report.main()
    page = Path(capsys.readouterr().out.strip()).read_text()
    assert page.count("other judge's score") == 2
    assert ppo_report.mean_by_update(judged) == {0: 0.2, 5: 0.5}
    assert "other judge's score" not in ppo_report.page(made, rows())
