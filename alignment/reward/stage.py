"""Stage 2: a reward model, or an ensemble of them, from rankings.

    python -m alignment reward config.toml

The K responses of a prompt go through the model once, together; the loss is over all comparisons of a
ranking, each prompt counting once (Ouyang et al. 2022, section 3.5). Every row of the files is trained on,
measured on, or refused for a reason that is counted. Scores are shifted so that reference answers average 0.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.screening import screen
from alignment.models.adapters import is_adapted
from alignment.models.ensemble import Ensemble, EnsembleFile
from alignment.models.forward import Model, score_mean, score_members, score_rows
from alignment.models.load import (
    ScoreScale,
    context_length,
    context_length_of,
    load_reward_model,
    load_scorer,
    load_tokenizer,
    round_weights,
    save_adapter,
    save_model,
    save_score_scale,
    saved_type,
)
from alignment.models.sharing import merged
from alignment.reward import data as reward_data
from alignment.reward import notes
from alignment.reward.annotations import Annotation
from alignment.reward.data import MIN_PROMPT, encode_responses, require_usable
from alignment.reward.examples import Example, PreparedExamples, RowStatus
from alignment.reward.report import page as reward_report
from alignment.reward.report.measures import ReportData
from alignment.reward.trainer import fit
from alignment.shared import artifact
from alignment.shared.config import RewardConfig, Stage
from alignment.shared.errors import BadInput
from alignment.shared.events import Reporter, StageResult
from alignment.shared.records import Prompt, Ranking
from alignment.shared.sentence import Sentence
from alignment.shared.stages import RewardInputs
from alignment.training.checkpoints import Checkpoints
from alignment.training.trainer import load_to_train, writes

if TYPE_CHECKING:
    from peft import PeftModel

BASE = "base"  # folder of an ensemble of adapters


def train(config: RewardConfig, inputs: RewardInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Train on the rankings of the train prompts, measure on the held-out ones, leave the model in `out_dir`.

    Raises BadInput for rankings that teach nothing, Diverged for a loss that is no number; Paused when
    that was asked for.
    """
    tokenizer = load_tokenizer(inputs.model)
    rankings, rows = reward_data.read(inputs, config)
    limit = min(config.max_length, context_length_of(inputs.model) or config.max_length)
    rankings, rows, screened = reward_data.screened(rankings, rows, tokenizer, config)
    screened.note(Sentence("screened-rows", "rows"), reporter)
    unread = [number for number, prompt in enumerate(screened.prompts) if prompt is None]
    prepared = reward_data.prepare(rows, tokenizer, limit, config, unread)
    counts = prepared.counts(rows) | screened.counts()
    for note in notes.of(counts, len(rows)):
        reporter.note(note, level="warning")
    require_usable(prepared, counts, inputs.rankings)

    metrics = _train_members(config, inputs, prepared, tokenizer, out_dir, reporter)
    if not writes():
        return StageResult("reward", metrics)
    reward_data.write_examples(out_dir / reward_data.EXAMPLES, rows, prepared)
    batch_size = 4 * config.micro_batch_size
    trained = load_reward_model(out_dir, load_tokenizer(out_dir))
    details: dict[str, Any] = {"counts": counts, "score_mean": score_mean(trained)}
    material = report_data(trained, tokenizer, rankings, rows, prepared, counts, batch_size)
    written = reward_data.read_samples(inputs)
    readable = screen(tokenizer, [(prompt, [text]) for prompt, text in written], "leave_out").prompts
    samples = [(prompt, text) for prompt, (_, text) in zip(readable, written, strict=True) if prompt]
    report = reward_report.write(out_dir, replace(material, samples=samples))
    metrics |= report["metrics"]
    details["words"] = report["words"]
    if "by" in report:
        details["heldout_prefers"] = report["prefers"]
        details["heldout_by_criterion"] = {name: part["value"] for name, part in report["by"]["criterion"].items()}
    else:
        english = "No prompt is held out: the accuracy is unknown."
        reporter.note(Sentence("accuracy-unknown", english), level="warning")
    return StageResult("reward", metrics, details)


def score(
    model: Model | Ensemble,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    batch_size: int = 64,
    *,
    cut: bool = False,
) -> Tensor:
    """The reward model's score of each response to its prompt, reference answers at 0: `(B,)`.

    A response that does not fit the model is read as far as it fits with `cut`, else BadInput.
    """
    rows = _sequences(model, tokenizer, prompts, responses, cut)
    return score_rows(model, rows, tokenizer.pad_token_id, batch_size)


def member_scores(
    model: Model | Ensemble,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    batch_size: int = 64,
    *,
    cut: bool = False,
) -> Tensor:
    """`score` by each member, `(M, B)`; a single model is the only member."""
    if not isinstance(model, Ensemble):
        return score(model, tokenizer, prompts, responses, batch_size, cut=cut)[None]
    rows = _sequences(model, tokenizer, prompts, responses, cut)
    return score_members(model, rows, tokenizer.pad_token_id, batch_size)


def centre(
    model: Model, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], batch_size: int
) -> ScoreScale:
    """Set the model's `score_mean` so that best-ranked responses average 0; return mean and deviation.

    They are the nearest to reference answers that rankings hold (Stiennon et al. 2020, 3.4; Ouyang et
    al. 2022, 3.5 use demonstrations): a good answer scores about 0, so that a fixed score for a missing
    stop token means something. In the config, because most architectures' heads have no bias.
    """
    best = [e.sequences[k] for e in examples for k in range(len(e.responses)) if any(v.ranks[k] == 0 for v in e.votes)]
    model.config.score_mean = 0.0
    # Where rankings only tie or label, all responses stand in for the best.
    scores = score_rows(model, best or [s for e in examples for s in e.sequences], tokenizer.pad_token_id, batch_size)
    model.config.score_mean = float(scores.mean())
    std = float(scores.std(unbiased=False))
    return ScoreScale(score_mean(model), std, "best-ranked train responses", len(scores))


def report_data(
    model: Model | Ensemble,
    tokenizer: PreTrainedTokenizerBase,
    rankings: Sequence[Ranking],
    rows: Sequence[Annotation],
    prepared: PreparedExamples,
    counts: Mapping[str, int],
    batch_size: int,
) -> ReportData:
    """What the report measures: the rankings that were used, as each annotator gave them, and the scorer.

    Its probes lengthen responses; one that then passes the model's context is read as far as it fits.
    """

    def score_all(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        return score(model, tokenizer, prompts, responses, batch_size, cut=True).tolist()

    def score_each(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[list[float]]:
        return member_scores(model, tokenizer, prompts, responses, batch_size, cut=True).tolist()

    def those(status: RowStatus) -> list[Ranking]:
        return [r for r, row, f in zip(rankings, rows, prepared.statuses, strict=False) if f is status and row.orders]

    members = score_each if isinstance(model, Ensemble) else None
    return ReportData(those(RowStatus.HELDOUT), those(RowStatus.TRAINED), score_all, members, counts=counts)


def _train_members(
    config: RewardConfig,
    inputs: RewardInputs,
    prepared: PreparedExamples,
    tokenizer: PreTrainedTokenizerBase,
    out_dir: Path,
    reporter: Reporter,
) -> dict[str, float]:
    """Train and save every member, one in memory at a time; the metrics are the first one's.

    A member that an earlier attempt finished is read from its last checkpoint.
    """
    names = [f"member-{number}" for number in range(config.members)] if config.members > 1 else ["."]
    adapters = config.members > 1 and config.member_kind == "adapter"
    saved = Checkpoints.of(Stage.REWARD, config, inputs, reporter)
    metrics: dict[str, float] = {}
    for number, name in enumerate(names):
        member = _start(config, inputs, tokenizer, number)
        examples = _drawn(prepared.train, config, number)
        own = saved.member(number) if config.members > 1 else saved
        found = fit(member, tokenizer, examples, config, reporter, own)
        metrics = metrics or found
        if not writes():
            continue
        member.eval()
        dtype = saved_type(config.save_dtype, inputs.model)
        apart = is_adapted(member) and (adapters or config.save_adapter)
        if not apart:  # what is measured is what is saved; adapters are saved as they are
            member = merged(member, dtype) if is_adapted(member) else member
            round_weights(member, dtype)
        scale = centre(member, tokenizer, prepared.train, 4 * config.micro_batch_size)
        folder = out_dir / name
        folder.mkdir(exist_ok=True)
        if apart:
            save_adapter(
                cast("PeftModel", member), tokenizer, folder, f"../{BASE}" if adapters else str(inputs.model.resolve())
            )
        else:
            save_model(member, tokenizer, folder, dtype)
        save_score_scale(folder, scale)
    if not writes():
        return metrics
    if adapters:
        shutil.copytree(inputs.model, out_dir / BASE, ignore=shutil.ignore_patterns(artifact.MANIFEST, "*.jsonl"))
    if len(names) > 1:
        EnsembleFile(tuple(names), config.combine, config.variance_coef, adapters).write(out_dir)
    return metrics


def _start(config: RewardConfig, inputs: RewardInputs, tokenizer: PreTrainedTokenizerBase, number: int) -> Model:
    """An untrained member: head and adapters begin as its own seed says."""
    torch.manual_seed(config.seed)  # a padding token's new row is drawn
    more: dict[str, Any] = {
        "trained": True,
        "light": config.light,
        "dropout": config.dropout or False,
        "seed": config.seed + number,
    }
    model = load_to_train(lambda device: load_scorer(inputs.model, tokenizer, device=device, **more), config)
    if config.frozen_trunk:
        model.requires_grad_(False)
        model.score.requires_grad_(True)
    return model


def _drawn(examples: Sequence[Example], config: RewardConfig, number: int) -> list[Example]:
    """The member's examples: all, or for a bootstrap as many drawn with repetition."""
    if config.members == 1 or config.member_kind != "bootstrap":
        return list(examples)
    generator = torch.Generator().manual_seed(config.seed + number)
    return [examples[i] for i in torch.randint(len(examples), (len(examples),), generator=generator).tolist()]


def _sequences(
    model: Model | Ensemble,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    cut: bool,
) -> list[list[int]]:
    limit = context_length(model) or 2**31
    rows = []
    for prompt, response in zip(prompts, responses, strict=True):
        before, after = encode_responses(tokenizer, prompt, [response], limit)
        if not after and cut:
            ids = chat.response_ids(tokenizer, response)
            before = before[-min(len(before), MIN_PROMPT) :]
            after = [ids[: limit - len(before) - 1] + ids[-1:]]  # the stop stays
        if not after:
            raise BadInput(
                Sentence(
                    "response-too-long",
                    "The response %(response)s is longer than the reward model's %(limit)s tokens.",
                    response=f"{response[:60]!r}",
                    limit=limit,
                ),
                Sentence("shorten-or-longer-context", "Shorten it or use a reward model with a longer context."),
            )
        rows.append(before + after[0])
    return rows
