"""The reward stage: what is counted, what is refused, and that the loss is the one that we mean."""

import math
import random
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from trl.trainer.reward_config import RewardConfig as TRLRewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from alignment.models.load import load_scorer, load_tokenizer
from alignment.reward import data as reward_data
from alignment.reward import forward
from alignment.reward import stage as reward
from alignment.reward import trainer as reward_trainer
from alignment.reward.annotations import annotation_of_ranking
from alignment.reward.batch import collate_rankings
from alignment.shared import stages
from alignment.shared.config import RewardConfig
from alignment.shared.errors import BadInput, Cancelled, Diverged, StageError
from alignment.shared.events import NullReporter
from alignment.shared.records import Prompt, Ranking, split_of, write_jsonl
from tests.support.alignment import tiny

pytestmark = pytest.mark.slow

SETTINGS = {"learning_rate": 3e-3, "batch_size": 16, "micro_batch_size": 8, "max_length": 64, "epochs": 3.0}


def prompt_of(*words: str) -> Prompt:
    return Prompt.from_text(" ".join(words))


def rankings_that_like(word: str, count: int, seed: int = 0) -> list[Ranking]:
    """Three responses to each prompt, ordered by how often they hold the word."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        responses = tuple(" ".join(rng.choices(tiny.WORDS, k=4) + [word] * n) for n in rng.sample(range(3), 3))
        order = sorted(range(3), key=lambda i: -responses[i].split().count(word))
        groups: list[list[int]] = []
        for i in order:
            if groups and responses[groups[-1][0]].split().count(word) == responses[i].split().count(word):
                groups[-1].append(i)
            else:
                groups.append([i])
        found.append(
            Ranking(
                prompt=prompt_of(*rng.choices(tiny.WORDS, k=5)),
                responses=responses,
                groups=tuple(tuple(group) for group in groups),
            )
        )
    return found


def run(tmp_path: Path, rankings: list[Ranking], **settings: object) -> stages.StageResult:
    write_jsonl(tmp_path / "rankings.jsonl", rankings)
    if not (tmp_path / "sft").exists():
        tiny.save(tiny.causal(), tmp_path / "sft")
    inputs = {"model": tmp_path / "sft", "rankings": tmp_path / "rankings.jsonl"}
    return stages.run(stages.Stage.REWARD, SETTINGS | settings, inputs, tmp_path / "out", NullReporter())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, stages.StageResult]:
    folder = tmp_path_factory.mktemp("reward")
    return folder, run(folder, rankings_that_like("w3", 240))


def test_it_learns_what_the_rankings_prefer(trained: tuple[Path, stages.StageResult]) -> None:
    _, result = trained
    assert result.metrics["heldout_accuracy"] > 0.85
    assert result.metrics["heldout_accuracy_low"] <= result.metrics["heldout_accuracy"]
    assert result.metrics["heldout_loss"] < math.log(2)
    assert result.metrics["heldout_pairs"] > 20


def test_the_saved_model_scores_the_best_answers_about_zero(trained: tuple[Path, stages.StageResult]) -> None:
    folder, result = trained
    tokenizer = load_tokenizer(folder / "out")
    model = load_scorer(folder / "out", tokenizer, trained=False)
    shown = [r for r in rankings_that_like("w3", 240) if split_of(r.prompt, 0.1) == "train"]
    best = [(r.prompt, r.responses[i]) for r in shown for i in r.groups[0]]
    scores = reward.score(model, tokenizer, [p for p, _ in best], [t for _, t in best])
    assert result.details["score_mean"] != 0.0
    assert float(scores.mean()) == pytest.approx(0.0, abs=1e-4)
    high, low = reward.score(model, tokenizer, [prompt_of("w1"), prompt_of("w1")], ["w2 w3 w3", "w2 w4 w5"]).tolist()
    assert high > low


def test_every_ranking_is_accounted_for(tmp_path: Path) -> None:
    """Too long a prompt is shortened, too long a response refused, a full tie left out: all are counted."""
    long_prompt = prompt_of(*["w1"] * 70)
    rankings = [
        *rankings_that_like("w3", 40),
        Ranking(prompt=long_prompt, responses=("w3", "w4"), groups=((0,), (1,))),
        Ranking(prompt=prompt_of("w1", "w2"), responses=("w3 " * 70, "w4"), groups=((0,), (1,))),
        Ranking(prompt=prompt_of("w2"), responses=("w3", "w4", "w5"), groups=((0, 1, 2),)),
    ]
    counts = run(tmp_path, rankings, epochs=1.0).details["counts"]
    assert {name: n for name, n in counts.items() if n} == {"used": 41, "shortened": 1, "refused": 1, "all_tied": 1}
    assert counts["used"] + counts["refused"] + counts["all_tied"] == len(rankings)


def test_a_prompt_is_cut_on_its_left_the_same_for_all_responses() -> None:
    tokenizer = tiny.tokenizer()
    prompt = prompt_of(*[f"w{i % 20}" for i in range(30)])
    kept, responses = reward_data.encode_responses(tokenizer, prompt, ["w1 w2 w3", "w4"], limit=24)
    assert len(kept) + max(map(len, responses)) == 24
    assert list(map(len, responses)) == [4, 2]  # with the stop
    assert tokenizer.decode(kept).endswith("w8 w9 <|assistant|>")


@pytest.mark.parametrize(
    ("rankings", "said"),
    [
        ([Ranking(prompt=prompt_of("w1"), responses=("w2", "w3"), groups=((0, 1),))], "teaches nothing"),
        ([], "teaches nothing"),
    ],
)
def test_rankings_that_order_nothing_are_refused(tmp_path: Path, rankings: list[Ranking], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        run(tmp_path, rankings)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    tiny.save(tiny.causal(), tmp_path / "sft")
    (tmp_path / "rankings.jsonl").write_text('{"prompt": 1}\n')
    inputs = {"model": tmp_path / "sft", "rankings": tmp_path / "rankings.jsonl"}
    with pytest.raises(StageError, match=r"rankings\.jsonl, line 1"):
        stages.run(stages.Stage.REWARD, SETTINGS, inputs, tmp_path / "out", NullReporter())


def test_adapters_learn_too_and_leave_a_whole_model(tmp_path: Path) -> None:
    result = run(tmp_path, rankings_that_like("w3", 240), lora={"rank": 8}, learning_rate=1e-2)
    assert result.metrics["heldout_accuracy"] > 0.75
    tokenizer = load_tokenizer(tmp_path / "out")
    merged = load_scorer(tmp_path / "out", tokenizer, trained=False)
    assert type(merged).__name__ == "LlamaForSequenceClassification"
    assert merged.config.score_mean == result.details["score_mean"]
    high, low = reward.score(merged, tokenizer, [prompt_of("w1")] * 2, ["w2 w3 w3", "w2 w4 w5"]).tolist()
    assert high > low


def test_no_held_out_prompt_means_no_accuracy(tmp_path: Path) -> None:
    result = run(tmp_path, rankings_that_like("w3", 12), heldout_fraction=0.0, epochs=1.0)
    assert "heldout_accuracy" not in result.metrics


def test_accumulation_leaves_the_training_unchanged(tmp_path: Path) -> None:
    """Micro-batches of rankings of unequal weight and size add up to the same optimizer steps."""
    rankings = [
        r.model_copy(update={"weight": 0.25 + (i % 4), "responses": r.responses[:3]})
        for i, r in enumerate(rankings_that_like("w3", 36))
    ]
    weights = []
    for micro in (2, 12):
        out = tmp_path / str(micro)
        out.mkdir()
        run(out, rankings, batch_size=12, micro_batch_size=micro, epochs=1.0, heldout_fraction=0.0)
        tokenizer = load_tokenizer(out / "out")
        weights.append(load_scorer(out / "out", tokenizer, trained=False).score.weight)
    torch.testing.assert_close(weights[0], weights[1], atol=1e-5, rtol=1e-4)


def test_with_two_responses_the_loss_is_trls_own(tmp_path: Path) -> None:
    """The pairwise special case against the trainer that we subclass: same weights, same pairs, its own collator."""
    tokenizer, model = tiny.tokenizer(), tiny.scorer()
    rankings = [
        r.model_copy(update={"responses": r.responses[:2], "groups": ((0,), (1,))}) for r in rankings_that_like("w3", 8)
    ]
    config = RewardConfig(heldout_fraction=0.0)
    rows = [annotation_of_ranking(ranking, config) for ranking in rankings]
    examples = reward_data.prepare(rows, tokenizer, 64, config).train
    pairs = [{"chosen_ids": e.sequences[0], "rejected_ids": e.sequences[1], "margin": 0.0} for e in examples]
    theirs = RewardTrainer(
        model=model,
        args=TRLRewardConfig(
            str(tmp_path), center_rewards_coefficient=0.01, report_to=[], use_cpu=True, bf16=False, max_length=None
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
    )
    batch = collate_rankings(examples, tokenizer.pad_token_id, width=32)
    ours = reward_trainer.batch_loss(forward.packed_scores(model, batch), batch, config, float(len(examples))).loss
    assert float(ours) == pytest.approx(float(theirs.compute_loss(model, theirs.data_collator(pairs))), abs=1e-5)


def test_cancel_is_heard_at_a_step_border(tmp_path: Path) -> None:
    class Impatient(NullReporter):
        def cancelled(self) -> bool:
            return True

    write_jsonl(tmp_path / "rankings.jsonl", rankings_that_like("w3", 40))
    tiny.save(tiny.causal(), tmp_path / "sft")
    inputs = {"model": tmp_path / "sft", "rankings": tmp_path / "rankings.jsonl"}
    with pytest.raises(Cancelled):
        stages.run(stages.Stage.REWARD, SETTINGS, inputs, tmp_path / "out", Impatient())
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_loss_that_is_no_number_is_divergence(tmp_path: Path) -> None:
    broken = tiny.causal()
    with torch.no_grad():
        broken.model.norm.weight.fill_(3e38)  # a number, but no score comes of it
    tiny.save(broken, tmp_path / "sft")
    with pytest.raises(Diverged):
        run(tmp_path, rankings_that_like("w3", 40))


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    broken = tiny.causal()
    with torch.no_grad():
        broken.model.norm.weight[3] = math.nan
    tiny.save(broken, tmp_path / "sft")
    with pytest.raises(BadInput, match=r"model\.norm\.weight.*NaN"):
        run(tmp_path, rankings_that_like("w3", 40))
