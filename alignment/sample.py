"""The `sample` stage: K responses of each model to each prompt, for annotators to rank.

The decoding itself is in `rollout`; here stands what is drawn, kept and written.

    python -m alignment sample config.toml
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.screening import screen
from alignment.models.load import context_length, load_causal_lm, load_tokenizer
from alignment.rollout.generation import generate, read_prompts
from alignment.rollout.streams import draws_of
from alignment.shared.config import SampleConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Meter, NullReporter, Paused, Reporter, StageResult
from alignment.shared.records import Prompt, canonical_json
from alignment.shared.sentence import Sentence, counted
from alignment.shared.stages import SampleInputs
from alignment.training.team import Team, together


def train(config: SampleConfig, inputs: SampleInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """The `sample` stage: K responses of each model to each prompt, in `responses.jsonl`.

    With `distinct`, K * oversample are drawn and the first K different texts stay. Rows are ordered by
    prompt, model and draw. Prompts that leave no room for a response are counted and named, not cut.
    Several processes share the draws; the first one keeps and writes. Raises Paused when that was asked for.
    """
    with together() as team:
        return _sample(config, inputs, out_dir, reporter if team.first else NullReporter(), team)


def _sample(config: SampleConfig, inputs: SampleInputs, out_dir: Path, reporter: Reporter, team: Team) -> StageResult:
    prompts = list(read_prompts(inputs.prompts))
    keys = [prompt.key for prompt in prompts]
    draws = config.draws
    meter = Meter(reporter, "sample", len(prompts) * draws * len(inputs.models))

    def count(done: int) -> None:
        meter.step(by=min(done * team.size, meter.total - meter.done))  # the others are about as far
        if reporter.paused():
            raise Paused("Sampling saves nothing on its way: it begins again, with the same draws.")

    rows: list[dict[str, Any]] = []
    skipped: dict[str, int] = {}
    refused: dict[str, dict[str, int]] = {}
    asked = 0  # prompts that a model could answer
    for name, folder in inputs.models.items():
        tokenizer = load_tokenizer(folder)
        model = load_causal_lm(folder, tokenizer, trained=False)
        screened = screen(tokenizer, [(prompt, ()) for prompt in prompts], config.template_refusals)
        screened.note(Sentence("screened-prompts-for", "prompts for %(name)s", name=name), reporter)
        refused |= {name: parts} if (parts := screened.counts()) else {}
        found, skipped[name] = _sample_model(model, tokenizer, name, screened.prompts, draws, config, count, keys, team)
        asked += sum(prompt is not None for prompt in screened.prompts) - skipped[name]
        rows += found
        if skipped[name]:
            reporter.note(_too_long(name, skipped[name]), level="warning")
    if not team.first:
        return StageResult("sample", {})
    rows.sort(key=lambda row: row["prompt"])  # stable: models stay in the order in which they were named
    if not rows:
        if asked:
            raise _said_nothing(asked * draws)
        cause = Sentence("nothing-sampled", "No response was sampled: every prompt is too long.")
        if any(counted.get("template_refused") for counted in refused.values()):
            cause = Sentence(
                "nothing-sampled-or-refused",
                "No response was sampled: every prompt is too long, or one that the chat template refuses.",
            )
        raise BadInput(cause, Sentence("shorten-or-merge", "Shorten them, or set template_refusals to 'merge_turns'."))
    with (out_dir / "responses.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(canonical_json(row) + "\n" for row in rows)
    reporter.samples(0, [{"prompt": prompts[r["prompt"]].text, "response": r["text"]} for r in rows[:8]])
    return StageResult(
        "sample", _summary(rows, len(prompts)), {"skipped": skipped, **({"screened": refused} if refused else {})}
    )


def _too_long(name: str, skipped: int) -> Sentence:
    return counted(
        "model-prompts-left-out",
        "%(name)s: %(n)s prompt is too long for the model and was left out.",
        "%(name)s: %(n)s prompts are too long for the model and were left out.",
        n=skipped,
        name=name,
    )


def _said_nothing(drawn: int) -> BadInput:
    """Every reply was empty: tokens without a text are those that stop, and those that no tokenizer knows."""
    cause = Sentence(
        "nothing-said",
        "None of the %(drawn)s replies holds a text: the model stops at once, or says tokens that its tokenizer lacks.",
        drawn=drawn,
    )
    step = (
        "Look at the folder with `rankloop models check`: its weights, its stops, and whether the tokenizer is its own."
    )
    return BadInput(cause, Sentence("look-at-folder", step))


def _sample_model(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    prompts: Sequence[Prompt | None],
    draws: int,
    config: SampleConfig,
    on_batch: Callable[[int], None],
    keys: Sequence[str],
    team: Team,
) -> tuple[list[dict[str, Any]], int]:
    """One model's rows, which the first process has, and how many prompts were too long for it; None: its template
    refuses that prompt."""
    encoded = {i: chat.prompt_ids(tokenizer, prompt) for i, prompt in enumerate(prompts) if prompt}
    limit = context_length(model)
    fits = [i for i, ids in encoded.items() if limit is None or len(ids) + config.max_response_length <= limit]
    flat = [i for i in fits for _ in range(draws)]
    if not flat:
        return [], len(encoded)
    mine = team.share([len(encoded[i]) for i in flat]).rows.tolist()

    def numbers(rows: Sequence[int], tokens: int) -> torch.Tensor:
        """Those of a prompt and a draw: what else is asked changes none."""
        places = [(flat[mine[row]], mine[row] % draws) for row in rows]
        return torch.cat([draws_of(config.seed, prompt)([draw], tokens) for prompt, draw in places])

    generated = generate(
        model,
        tokenizer,
        [encoded[flat[row]] for row in mine],
        max_new_tokens=config.max_response_length,
        generator=torch.Generator(model.device).manual_seed(config.seed),
        temperature=config.temperature,
        top_p=config.top_p,
        batch_size=config.batch_size,
        draws=numbers,
        on_batch=on_batch,
    )
    said = {row: (generated.ids(place), bool(generated.finished[place])) for place, row in enumerate(mine)}
    drawn = {row: reply for found in team.to_first(said) for row, reply in found.items()}
    sampling = config.model_dump(include={"temperature", "top_p", "max_response_length", "seed"})
    rows = []
    for place, prompt in enumerate(fits if drawn else ()):
        replies = [drawn[row] for row in range(place * draws, (place + 1) * draws)]
        for row in _keep(replies, tokenizer, config):
            rows.append({"prompt": prompt, "key": keys[prompt], "model": name, **row, "sampling": sampling})
    return rows, len(encoded) - len(fits)


def _keep(
    replies: Sequence[tuple[list[int], bool]], tokenizer: PreTrainedTokenizerBase, config: SampleConfig
) -> list[dict[str, Any]]:
    """The first K of a prompt's draws, tokens and whether they ended; or, distinct, its first K different texts that
    say anything."""
    kept: dict[Any, dict[str, Any]] = {}
    for draw, (ids, finished) in enumerate(replies):
        text = chat.decode(tokenizer, ids)
        if text or not config.distinct:  # an empty reply is nothing to rank, but it counts where replies are judged
            row = {"text": text, "finished": finished, "tokens": len(ids)}
            kept.setdefault(text if config.distinct else draw, row)
    return list(kept.values())[: config.kept]


def _summary(rows: list[dict[str, Any]], prompts: int) -> dict[str, float]:
    return {
        "prompts": prompts,
        "responses": len(rows),
        "finished_share": sum(row["finished"] for row in rows) / len(rows),
        "mean_tokens": sum(row["tokens"] for row in rows) / len(rows),
    }
