"""What to rank next: information by hand, a queue that is the same each time, and a control arm that stays."""

import json
import math
from pathlib import Path

import pytest
import torch

from alignment.reward import acquisition
from alignment.reward.acquisition import CandidateSet, choose, compare_arms, information, main
from alignment.shared.records import Prompt, write_jsonl
from tests.support.alignment import tiny


def of_pair(*chances: float) -> float:
    """What a pair tells of members that give its first response these chances to win."""
    return information(torch.tensor([[math.log(p / (1 - p)), 0.0] for p in chances], dtype=torch.float64))


def test_information_is_the_doubt_that_a_ranking_would_settle() -> None:
    """Members at 0.9 and 0.1 contradict each other: ln 2 - H(0.9) = 0.6931 - 0.3251. Alike, they leave nothing."""
    assert of_pair(0.9, 0.1) == pytest.approx(0.36806, abs=1e-5)
    assert of_pair(1 - 1e-9, 1e-9) == pytest.approx(math.log(2), abs=1e-6)
    assert of_pair(0.5, 0.5) == of_pair(0.8, 0.8) == pytest.approx(0.0, abs=1e-12)


def test_the_information_of_three_by_hand() -> None:
    """Each sure of another order: ln 2. One sure, one with no idea: H of (1/12 five times, 7/12) less half of ln 6."""
    sure, opposed, blank = [60.0, 30.0, 0.0], [0.0, 30.0, 60.0], [0.0, 0.0, 0.0]
    assert information(torch.tensor([sure, opposed], dtype=torch.float64)) == pytest.approx(math.log(2))
    expected = 5 / 12 * math.log(12) + 7 / 12 * math.log(12 / 7) - math.log(6) / 2
    assert information(torch.tensor([sure, blank], dtype=torch.float64)) == pytest.approx(expected)


def test_overlapping_pairs_are_not_counted_twice_and_a_shift_tells_nothing() -> None:
    """All pairs of a sure and a contrary member together tell what one pair does: which of two members is right."""
    scores = torch.tensor([[9.0, 6.0, 3.0, 0.0], [0.0, 3.0, 6.0, 9.0]], dtype=torch.float64) * 9
    assert information(scores) == pytest.approx(math.log(2))
    shifted = scores + torch.tensor([[7.0], [-3.0]])
    assert information(shifted) == pytest.approx(information(scores))


def test_large_sets_are_estimated_by_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = information(scores)
    monkeypatch.setattr(acquisition, "EXACT", 4)
    assert information(scores) == pytest.approx(exact, rel=0.1)
    assert 0 < information(torch.randn(4, 9, generator=torch.Generator().manual_seed(0))) < math.log(4)


def test_sets_compete_by_what_each_response_to_be_read_tells() -> None:
    """Four responses that settle as much as two do cost twice the reading."""
    few, many = (
        torch.tensor([[50.0, 0.0], [0.0, 50.0]]),
        torch.tensor([[90.0, 60.0, 30.0, 0.0], [0.0, 30.0, 60.0, 90.0]]),
    )
    candidates = [CandidateSet(Prompt.from_text(f"p{i}"), tuple("abcd"[: 4 if i % 2 else 2])) for i in range(20)]
    queue = choose(candidates, [many if i % 2 else few for i in range(20)], 8, seed=0)
    assert all(c.index % 2 == 0 for c in queue if c.arm == "informative")


def pool(size: int) -> tuple[list[CandidateSet], list[torch.Tensor]]:
    """Set i is the more informative the larger i is; two sets share each prompt."""
    candidates = [CandidateSet(Prompt.from_text(f"p{i // 2}"), (f"a{i}", f"b{i}")) for i in range(size)]
    return candidates, [torch.tensor([[i / 100, 0.0], [-i / 100, 0.0]], dtype=torch.float64) for i in range(size)]


def test_the_queue_holds_the_best_and_a_random_control_arm() -> None:
    candidates, scores = pool(200)
    queue = choose(candidates, scores, 20, seed=1)
    random_arm = {c.index for c in queue if c.arm == "random"}
    best = {c.index for c in queue if c.arm == "informative"}
    assert (len(random_arm), len(best)) == (5, 15)
    assert len({candidates[c.index].prompt.key for c in queue}) == 20
    open_prompts = {i // 2 for i in range(200)} - {i // 2 for i in random_arm}
    assert best == {2 * p + 1 for p in sorted(open_prompts)[-15:]}
    assert min(random_arm) < 100


def test_the_same_seed_gives_the_same_queue_and_another_does_not() -> None:
    candidates, scores = pool(100)
    assert choose(candidates, scores, 10, seed=3) == choose(candidates, scores, 10, seed=3)
    assert choose(candidates, scores, 10, seed=3) != choose(candidates, scores, 10, seed=4)


def test_the_control_arm_cannot_be_left_out() -> None:
    candidates, scores = pool(10)
    with pytest.raises(ValueError, match="the control arm stays"):
        choose(candidates, scores, 5, seed=0, random_share=0.0)
    assert [c.arm for c in choose(candidates, scores, 3, seed=0, random_share=0.05)].count("random") == 1
    with pytest.raises(ValueError, match="two or more"):
        choose(candidates, [rows[:1] for rows in scores], 5, seed=0)


def test_a_pool_that_is_too_small_is_queued_whole() -> None:
    candidates, scores = pool(8)
    assert len(choose(candidates, scores, 100, seed=0)) == 4


def test_the_control_arm_stands_for_the_pool() -> None:
    """Over many seeds its mean information is the pool's, not the top's."""
    candidates, scores = pool(60)
    drawn = [c.information for seed in range(60) for c in choose(candidates, scores, 8, seed) if c.arm == "random"]
    told = [information(rows) for rows in scores]
    assert sum(drawn) / len(drawn) == pytest.approx(sum(told) / len(told), rel=0.1)


def test_arms_are_compared_prompt_by_prompt() -> None:
    """40 prompts of two comparisons: 1 right before, 2 with the chosen arm, 1.5 with the control."""
    found = compare_arms([1.0] * 40, [2.0] * 40, [1.0, 2.0] * 20, [2] * 40)
    assert found.informative.value == pytest.approx(0.5)
    assert found.random.value == pytest.approx(0.25)
    assert found.advantage.value == pytest.approx(0.25)
    assert 0 < found.advantage.low < 0.25 < found.advantage.high


def test_the_command_queues_sampled_responses_by_reward_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tiny.save(tiny.scorer(seed), tmp_path / f"rm{seed}") for seed in (0, 1)]
    prompts = [Prompt.from_text(f"w{i} w{i + 1}") for i in range(8)]
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    texts = [(i, f"w{i} w{k}") for i in range(7) for k in (3, 4, 5)] + [(7, "w1"), (7, "w1")]  # the last says one thing
    with (tmp_path / "responses.jsonl").open("w") as file:
        file.writelines(json.dumps({"prompt": i, "text": text, "model": "m"}) + "\n" for i, text in texts)
    given = [str(tmp_path / name) for name in ("responses.jsonl", "prompts.jsonl")]
    out = tmp_path / "queue.jsonl"
    assert main([*given, *map(str, folders), "--count", "4", "--out", str(out)]) == 0
    queue = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(queue) == 4
    assert [row["arm"] for row in queue].count("random") == 1
    assert all(len(row["responses"]) == 3 and row["information"] >= 0 for row in queue)
    assert main([*given, str(folders[0]), "--out", str(out)]) == 1
    assert "give two or more" in capsys.readouterr().err
