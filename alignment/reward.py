"""Stage 2: a reward model from rankings, on TRL's RewardTrainer.

    python -m alignment reward config.toml

From TRL come the loop, accumulation, schedule and logging. Three things are ours. Data: TRL filters
pairs that are too long without a word; here the prompt is shortened from its left, and what still
does not fit is counted. Batches: the K responses of a prompt go through the model once, together,
instead of once for each of up to K(K-1)/2 pairs. Loss: Bradley-Terry over all comparisons of a
ranking, each ranking counting once (Ouyang et al. 2022, section 3.5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.reward_config import RewardConfig as TRLRewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from alignment import chat, models
from alignment.batch import RankingBatch, collate_rankings
from alignment.config import RewardConfig
from alignment.evaluate import RankingAccuracy, ranking_accuracy
from alignment.events import ErrorKind, Reporter, StageError, StageResult
from alignment.forward import Model, end_scores, score_mean, score_rows
from alignment.losses import ranking_loss
from alignment.records import Prompt, Ranking, read_jsonl, split_of
from alignment.stages import RewardInputs
from alignment.trainer import ReporterCallback, common_arguments

MIN_PROMPT = 16  # tokens of a shortened prompt; a response that leaves less room is refused

# {"input_ids": K lists, "ranks": (K,), "weight": w, "length": longest, "prompt": key, "criterion": name}
Example = dict[str, Any]


def train(config: RewardConfig, inputs: RewardInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Train on the rankings of the train prompts, measure on the held-out ones, leave the model in `out_dir`.

    Raises StageError(BAD_INPUT) for rankings that teach nothing, DIVERGED for a loss that is no number.
    """
    tokenizer = models.load_tokenizer(inputs.model)
    model = models.load_scorer(inputs.model, tokenizer, trained=True, lora=config.lora, seed=config.seed)
    rankings = read_rankings(inputs.rankings)
    limit = min(config.max_length, models.context_length(model) or config.max_length)
    train_set, heldout, counts = prepare(rankings, tokenizer, limit, config.heldout_fraction)
    for kind, message in NOTES.items():
        if counts[kind]:
            reporter.note(f"{counts[kind]} of {len(rankings)} rankings {message}", level="warning")
    _require(train_set, counts, inputs.rankings)

    metrics = fit(model, tokenizer, train_set, config, reporter)
    model.eval()
    batch_size = 4 * config.micro_batch_size
    details: dict[str, Any] = {"counts": dict(counts)}
    details["score_mean"] = centre(model, tokenizer, train_set, batch_size)
    if heldout:
        measured, by_criterion = measure(model, tokenizer, heldout, batch_size)
        metrics |= measured
        details["heldout_by_criterion"] = by_criterion
    else:
        reporter.note("No prompt is held out: the accuracy is unknown.", level="warning")
    models.save_model(model, tokenizer, out_dir)
    return StageResult("reward", metrics, details)


NOTES = {
    "shortened": "had their prompt cut on the left to fit max_length.",
    "refused": "were left out: a response alone fills max_length.",
    "all_tied": "were left out: they tie all responses and so order nothing.",
}


class RankingTrainer(RewardTrainer):
    """TRL's trainer on K-wise batches. `compute_loss` sees a `RankingBatch` as a dict."""

    # Every loss is already divided by the weight of the whole optimizer step, not of one micro-batch.
    loss_is_scaled_for_ga = True

    def __init__(self, centering_coef: float, **trainer: Any) -> None:
        super().__init__(**trainer)
        self.centering_coef = centering_coef

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # encoded and counted by `prepare`

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["input_ids", "ranks", "weight"]  # type: ignore[assignment]

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        return torch.stack([batch["weights"].sum() for batch in batch_samples]).sum().to(device)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """All-pairs loss of the rankings in this micro-batch, as its share of the optimizer step."""
        batch = RankingBatch(**inputs)
        scores = end_scores(cast(Model, model), batch.input_ids, batch.attention_mask)
        out = ranking_loss(scores, batch.better, batch.worse, batch.weights, self.centering_coef, num_items_in_batch)
        parts = self.current_gradient_accumulation_steps  # the log averages shares; make them sum
        self._metrics["train"]["accuracy"].append(float(out.accuracy) * parts)
        self._metrics["train"]["margin"].append(float(out.margin) * parts)
        return out.loss


def fit(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: RewardConfig,
    reporter: Reporter,
) -> dict[str, float]:
    """Train in place; return the last step's loss, accuracy and margin."""
    callback = ReporterCallback(reporter, "train")
    with TemporaryDirectory() as scratch:
        arguments = TRLRewardConfig(
            **common_arguments(config, Path(scratch)),
            max_length=None,
            train_sampling_strategy="group_by_length",  # by the column `length`: little is computed on padding
        )
        trainer = RankingTrainer(
            config.centering_coef,
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(list(examples)),
            processing_class=tokenizer,
            data_collator=lambda rows: collate_rankings(rows, tokenizer.pad_token_id).as_inputs(),
            callbacks=[callback],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return {f"train_{name}": callback.latest[name] for name in ("loss", "accuracy", "margin")}


def read_rankings(path: Path) -> list[Ranking]:
    """The file's rankings; StageError(BAD_INPUT) names the line that is none."""
    try:
        return list(read_jsonl(path, Ranking))
    except ValueError as error:
        raise StageError(ErrorKind.BAD_INPUT, str(error), "Each line must be one ranking record.") from error


def prepare(
    rankings: Sequence[Ranking], tokenizer: PreTrainedTokenizerBase, limit: int, heldout_fraction: float
) -> tuple[list[Example], list[Example], Counter[str]]:
    """Rankings as token ids, split by prompt into train and held-out, and what became of each.

    Counts: `used` (of these `shortened`), `refused` (too long), `all_tied`.
    """
    sides: dict[str, list[Example]] = {"train": [], "heldout": []}
    counts: Counter[str] = Counter(used=0, shortened=0, refused=0, all_tied=0)
    for ranking in rankings:
        if not ranking.pairs():
            counts["all_tied"] += 1
            continue
        rows, cut = encode_responses(tokenizer, ranking.prompt, ranking.responses, limit)
        if not rows:
            counts["refused"] += 1
            continue
        counts["used"] += 1
        counts["shortened"] += cut
        example: Example = {"input_ids": rows, "ranks": list(ranking.ranks), "weight": ranking.weight}
        example["length"] = max(map(len, rows))
        example["prompt"] = ranking.prompt.key
        example["criterion"] = ranking.criterion or ranking.prompt.criterion or ""
        sides[split_of(ranking.prompt, heldout_fraction)].append(example)
    return sides["train"], sides["heldout"], counts


def encode_responses(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, responses: Sequence[str], limit: int
) -> tuple[list[list[int]], bool]:
    """Each response after its prompt, as ids, and whether the prompt was cut on the left to fit `limit`.

    All responses keep the same prompt, so that they differ in nothing else. No rows: a response alone
    leaves less than MIN_PROMPT tokens for a longer prompt.
    """
    before = chat.prompt_ids(tokenizer, prompt)
    after = [chat.response_ids(tokenizer, text) for text in responses]
    room = limit - max(map(len, after))
    if room < min(len(before), MIN_PROMPT):
        return [], False
    kept = before[-room:] if room < len(before) else before
    return [kept + ids for ids in after], len(kept) < len(before)


def score(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    batch_size: int = 64,
) -> Tensor:
    """The reward model's score of each response to its prompt, reference answers at 0: `(B,)`.

    Raises StageError(BAD_INPUT) for a response that does not fit the model.
    """
    limit = models.context_length(model) or 2**31
    rows = []
    for prompt, response in zip(prompts, responses, strict=True):
        encoded, _ = encode_responses(tokenizer, prompt, [response], limit)
        if not encoded:
            raise StageError(
                ErrorKind.BAD_INPUT,
                f"The response {response[:60]!r} is longer than the reward model's {limit} tokens.",
                "Shorten it or use a reward model with a longer context.",
            )
        rows += encoded
    return score_rows(model, rows, tokenizer.pad_token_id, batch_size)


def centre(model: Model, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], batch_size: int) -> float:
    """Set the model's `score_mean` so that best-ranked responses average 0; return it.

    They are the nearest to reference answers that rankings hold (Stiennon et al. 2020, 3.4; Ouyang et
    al. 2022, 3.5 use demonstrations): a good answer scores about 0, so that a fixed score for a missing
    stop token means something. In the config, because most architectures' heads have no bias.
    """
    best = [ids for e in examples for ids, rank in zip(e["input_ids"], e["ranks"], strict=True) if rank == 0]
    model.config.score_mean = 0.0
    model.config.score_mean = float(score_rows(model, best, tokenizer.pad_token_id, batch_size).mean())
    return score_mean(model)


def measure(
    model: Model, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], batch_size: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Held-out accuracy with its interval, loss and calibration; and the accuracy by criterion."""
    rows = [ids for e in examples for ids in e["input_ids"]]
    flat = score_rows(model, rows, tokenizer.pad_token_id, batch_size)
    scores = [part.tolist() for part in torch.split(flat, [len(e["ranks"]) for e in examples])]
    result = _accuracy(scores, examples)
    metrics = {
        "heldout_accuracy": result.accuracy.value,
        "heldout_accuracy_low": result.accuracy.low,
        "heldout_accuracy_high": result.accuracy.high,
        "heldout_pairs": float(result.accuracy.n),
        "heldout_loss": result.loss,
        "heldout_calibration_error": result.calibration_error,
    }
    return metrics, _by_criterion(scores, examples)


def _by_criterion(scores: Sequence[Sequence[float]], examples: Sequence[Example]) -> dict[str, float]:
    found = {}
    for name in sorted({e["criterion"] for e in examples} - {""}):
        rows = [i for i, e in enumerate(examples) if e["criterion"] == name]
        found[name] = _accuracy([scores[i] for i in rows], [examples[i] for i in rows]).accuracy.value
    return found


def _accuracy(scores: Sequence[Sequence[float]], examples: Sequence[Example]) -> RankingAccuracy:
    return ranking_accuracy(scores, [e["ranks"] for e in examples], [e["prompt"] for e in examples])


def _require(train_set: Sequence[Example], counts: Mapping[str, int], path: Path) -> None:
    if not counts["used"]:
        raise StageError(
            ErrorKind.BAD_INPUT,
            f"{path} teaches nothing: {counts['all_tied']} rankings tie everything, {counts['refused']} are too long.",
            "Collect rankings that order responses, or raise max_length.",
        )
    if not train_set:
        raise StageError(
            ErrorKind.BAD_INPUT,
            f"All {counts['used']} usable rankings belong to held-out prompts.",
            "Rank more prompts or lower heldout_fraction.",
        )
