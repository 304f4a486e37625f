"""From what annotators said to what the loss asks: every kind of row has a stated fate."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from alignment.reward import data as reward_data
from alignment.reward.annotations import Label, annotation_of_ranking, annotations_of_answers, annotations_of_verdicts
from alignment.reward.examples import Example, PreparedExamples, RowStatus
from alignment.shared.config import RewardConfig
from alignment.shared.errors import StageError
from alignment.shared.records import Answer, Answers, Prompt, Ranking, RuleVerdict, write_jsonl
from alignment.shared.stages import RewardInputs
from tests.support.alignment import tiny

PROMPT = Prompt.from_text("w1 w2 w3")
TEXTS = ("w4", "w5 w6", "w7")


def ranking(*groups: tuple[int, ...], texts: tuple[str, ...] = TEXTS, **fields: Any) -> Ranking:
    return Ranking(**{"prompt": PROMPT, "responses": texts, "groups": groups} | fields)


def prepared(*rankings: Ranking, **settings: Any) -> PreparedExamples:
    config = RewardConfig(**{"heldout_fraction": 0.0} | settings)
    rows = [annotation_of_ranking(r, config) for r in rankings]
    return reward_data.prepare(rows, tiny.tokenizer(), 64, config)


def asked(example: Example) -> list[tuple[int, int, float, float, float]]:
    """Better, worse, target, margin, weight; rounded."""
    return [(c.better, c.worse, c.target, round(c.margin, 6), round(c.weight, 6)) for c in example.comparisons]


def test_an_order_with_a_tie_and_a_strength() -> None:
    """Best, then two tied: two wins by the whole margin, the tie left out or soft."""
    (left_out,) = prepared(ranking((1,), (0, 2), strength=3)).train
    assert asked(left_out) == [(1, 0, 1.0, 0.666667, 0.5), (1, 2, 1.0, 0.666667, 0.5)]
    (soft,) = prepared(ranking((1,), (0, 2), strength=3), ties="soft", margins="large").train
    assert asked(soft) == [(1, 0, 1.0, 2.0, 0.333333), (1, 2, 1.0, 2.0, 0.333333), (0, 2, 0.5, 0.0, 0.333333)]
    (none,) = prepared(ranking((1,), (0,), (2,), strength=4), margins="none").train
    assert {c.margin for c in none.comparisons} == {0.0}


def test_the_best_leads_everybody_by_the_margin_and_nothing_is_said_of_the_others() -> None:
    (example,) = prepared(ranking((0,), (1,), (2,), strength=4)).train
    assert [(c.better, c.worse, c.margin) for c in example.comparisons] == [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 0.0)]


def test_annotators_of_one_task_are_votes_in_one_example() -> None:
    """They saw the responses in different orders; the prompt still counts once."""
    one = ranking((0,), (1,), (2,), annotator="ann")
    other = ranking((2,), (0, 1), texts=(TEXTS[2], TEXTS[0], TEXTS[1]), annotator="bob")  # says: w5 w6 is best
    (example,) = prepared(one, other).train
    assert [(v.ranks, v.weight) for v in example.votes] == [((0, 1, 2), 0.5), ((1, 0, 1), 0.5)]
    assert example.weight == 1.0
    assert example.rows == (0, 1)
    assert asked(example)[3:] == [(1, 0, 1.0, 0.0, 0.25), (1, 2, 1.0, 0.0, 0.25)]


def test_votes_can_be_weighted_or_decided_by_majority() -> None:
    said = [ranking((0,), (1,), (2,), annotator=name) for name in ("ann", "bob", "cat")]
    said.append(ranking((2,), (1,), (0,), annotator="eve"))
    (each,) = prepared(*said).train
    assert [v.weight for v in each.votes] == [0.25] * 4
    (agreement,) = prepared(*said, votes="agreement").train
    assert [round(v.weight, 6) for v in agreement.votes] == [0.166667] * 3  # eve agrees with nobody
    (reliability,) = prepared(*said, votes="reliability").train
    assert len({vote.weight for vote in reliability.votes[:3]}) == 1
    assert reliability.votes[3].weight < reliability.votes[0].weight / 10  # eve's
    (modal,) = prepared(*said, votes="modal").train
    assert [(c.better, c.worse, c.target) for c in modal.comparisons] == [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0)]
    assert sum(c.weight for c in modal.comparisons) == pytest.approx(1.0)


def test_an_outvoted_row_is_counted_as_such() -> None:
    said = [ranking((0,), (1,), (2,), annotator=name) for name in ("ann", "bob", "eve")]
    said[2] = ranking((2,), (1,), (0,), annotator="eve")
    found = prepared(*said, votes="agreement")
    assert found.statuses == [RowStatus.TRAINED, RowStatus.TRAINED, RowStatus.OUTVOTED]


def test_a_cycle_of_three_annotators_is_used_and_counted() -> None:
    """a > b > c, b > c > a, c > a > b: every vote stands; the pairs pull against one another."""
    found = prepared(ranking((0,), (1,), (2,)), ranking((1,), (2,), (0,)), ranking((2,), (0,), (1,)))
    assert found.cyclic == 1
    assert len(found.train[0].comparisons) == 9
    assert found.statuses == [RowStatus.TRAINED] * 3


def test_a_full_tie_is_left_out_or_teaches_equality() -> None:
    assert prepared(ranking((0, 1, 2))).statuses == [RowStatus.ALL_TIED]
    assert prepared(ranking((0, 1, 2)), ties="soft").statuses == [RowStatus.TRAINED]


def test_all_bad_is_a_signal_of_its_own() -> None:
    (example,) = prepared(ranking((0, 1, 2), all_bad=True)).train
    assert not example.comparisons
    assert [(row, target, round(weight, 6)) for row, target, weight in example.labels] == [
        (0, 0.0, 0.033333),
        (1, 0.0, 0.033333),
        (2, 0.0, 0.033333),
    ]
    assert prepared(ranking((0, 1, 2), all_bad=True), all_bad_coef=0.0).statuses == [RowStatus.ALL_TIED]


def test_ratings_and_broken_rules_are_labels() -> None:
    (example,) = prepared(
        ranking((0,), (1,), (2,), ratings=(7, 4, 1), broken_rules=((), ("no-insults",), ())), rule_coef=0.3
    ).train
    assert [(row, target, round(weight, 6)) for row, target, weight in example.labels] == [
        (0, 1.0, 0.033333),
        (1, 0.5, 0.033333),
        (1, 0.0, 0.1),
        (2, 0.0, 0.033333),
    ]


def test_a_repeated_response_is_read_once() -> None:
    found = prepared(ranking((0, 2), (1,), texts=("w4", "w5", "w4")))
    assert [len(ids) for ids in found.train[0].responses] == [2, 2]
    assert asked(found.train[0]) == [(0, 1, 1.0, 0.0, 1.0)]
    rows = [annotation_of_ranking(ranking((0, 2), (1,), texts=("w4", "w5", "w4")), RewardConfig())]
    assert found.counts(rows)["repeated"] == 1


def test_an_empty_response_is_its_stop_alone() -> None:
    (example,) = prepared(ranking((0,), (1,), texts=("w4", ""))).train
    assert example.responses[1] == [tiny.tokenizer().eos_token_id]


def test_a_response_longer_than_the_context_refuses_its_task_by_name() -> None:
    found = prepared(ranking((0,), (1,), texts=("w4", "w5 " * 70)), ranking((0,), (1,), (2,)))
    assert found.statuses == [RowStatus.REFUSED, RowStatus.TRAINED]


def test_one_response_is_no_ranking(tmp_path: Path) -> None:
    line = {"prompt": PROMPT.model_dump(mode="json", exclude_none=True), "responses": ["w1"], "groups": [[0]]}
    (tmp_path / "rankings.jsonl").write_text(json.dumps(line) + "\n")
    inputs = RewardInputs(model=tmp_path, rankings=tmp_path / "rankings.jsonl")
    with pytest.raises(StageError, match=r"rankings\.jsonl, line 1: .*(?s:.)*At least 2 must be given"):
        reward_data.read(inputs, RewardConfig())


def test_one_prompt_stands_on_one_side() -> None:
    held = prepared(ranking((0,), (1,), (2,)), heldout_fraction=0.999999)
    assert (held.train, held.statuses) == ([], [RowStatus.HELDOUT])


def test_verdicts_order_kept_above_broken_and_push_broken_down() -> None:
    def verdict(response: str, said: str, annotator: str = "ann") -> RuleVerdict:
        fields = {"prompt": PROMPT, "rule": "no-insults", "text": "No insults.", "annotator": annotator}
        return RuleVerdict.model_validate(fields | {"response": response, "verdict": said})

    said = [verdict("w4", "broken"), verdict("w5", "kept"), verdict("w6", "unsure"), verdict("w7", "kept", "bob")]
    ann, bob = annotations_of_verdicts(said, RewardConfig(rule_coef=0.2))
    assert (ann.texts, ann.ranks, ann.labels) == (("w4", "w5"), (1, 0), (Label(0, 0.0, 0.2),))
    assert (bob.orders, bob.labels) == (False, ())


def test_answers_are_labels_or_an_order_where_the_settings_know_the_question() -> None:
    def answers(value: bool | int | str, *responses: str, question: str = "polite") -> Answers:
        made = Answer(question=question, text="Is it?", value=value)
        return Answers(prompt=PROMPT, responses=responses, answers=(made,))

    config = RewardConfig(questions={"polite": "good", "rude": "bad"}, answer_coef=0.5)
    (yes,) = annotations_of_answers(answers(True, "w4"), config)
    assert (yes.ranks, yes.labels) == (None, (Label(0, 1.0, 0.5),))
    (rude,) = annotations_of_answers(answers(True, "w4", question="rude"), config)
    assert rude.labels == (Label(0, 0.0, 0.5),)
    (grade,) = annotations_of_answers(answers(4, "w4"), config)
    assert grade.labels == (Label(0, 0.5, 0.5),)
    (pair,) = annotations_of_answers(answers("second", "w4", "w5"), config)
    assert (pair.texts, pair.ranks) == (("w4", "w5"), (1, 0))
    assert not list(annotations_of_answers(answers(True, "w4", question="other"), config))
    assert not list(annotations_of_answers(answers("perhaps", "w4"), config))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frozen_trunk": True, "lora": {}}, "leave lora unset"),
        ({"save_adapter": True}, "needs lora"),
        ({"members": 3, "member_kind": "adapter"}, "adapters on one base"),
        ({"votes": "modal", "loss": "plackett_luce"}, "choose another"),
    ],
)
def test_settings_that_contradict_one_another(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RewardConfig(**settings)


def test_the_learning_rate_follows_what_is_trained() -> None:
    assert RewardConfig().learning_rate == 9e-6
    assert RewardConfig(lora={}).learning_rate == 1e-4
    assert RewardConfig(frozen_trunk=True).learning_rate == 1e-3
    assert RewardConfig(lora={}, learning_rate=3e-5).learning_rate == 3e-5


def test_a_row_can_be_traced_to_its_fate(tmp_path: Path) -> None:
    said = [
        ranking((0,), (1,), (2,), lineage={"submission": "s1"}),
        ranking((0, 1, 2), lineage={"submission": "s2"}),
        ranking((0,), (1,), (2,), prompt=Prompt.from_text("w1 " * 70), lineage={"submission": "s3"}),
    ]
    config = RewardConfig(heldout_fraction=0.0)
    write_jsonl(tmp_path / "rankings.jsonl", said)
    _, rows = reward_data.read(RewardInputs(model=tmp_path, rankings=tmp_path / "rankings.jsonl"), config)
    found = reward_data.prepare(rows, tiny.tokenizer(), 64, config)
    reward_data.write_examples(tmp_path / "examples.jsonl", rows, found)
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    assert [(x["lineage"]["submission"], x["fate"], x["shortened"]) for x in lines] == [
        ("s1", "trained", False),
        ("s2", "all_tied", False),
        ("s3", "trained", True),
    ]
