"""Prompts -> responses: the rollout engine, and the `sample` stage that hands responses to annotators.

A plain decoding loop over the live model with a key-value cache. Prompts are sorted by length, padded
on the left, and a row leaves the batch once it has stopped, so that no step is spent on finished text.

    python -m alignment sample config.toml
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase

from alignment import chat, models
from alignment.batch import pad_right, position_ids
from alignment.config import SampleConfig
from alignment.events import ErrorKind, Meter, Paused, Reporter, StageError, StageResult
from alignment.records import Prompt, canonical_json, read_jsonl
from alignment.recurrent import is_recurrent, replies
from alignment.screening import screen
from alignment.stages import SampleInputs
from alignment.stops import stop_ids

COMPACT_AT = 0.6  # drop finished rows once this share of the batch or less is still going


@dataclass(frozen=True)
class Generated:
    """Sampled responses, right-padded, in the order of their prompts."""

    responses: torch.Tensor  # (B, R) token ids; padding after the stop
    response_mask: torch.Tensor  # (B, R) True on sampled tokens, the stop included
    finished: torch.Tensor  # (B,) True where the stop came before the length limit
    logprobs: torch.Tensor  # (B, R) of the sampled tokens under the temperature (before top-p); 0 on padding

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[int]],
        logprobs: Sequence[Sequence[float]],
        pad_id: int,
        stops: Sequence[int],
        device: torch.device,
    ) -> Generated:
        """From lists, one of each a response: its tokens, the stop included, and their log-probabilities."""
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = torch.arange(int(lengths.max()), device=device) < lengths[:, None]
        responses = pad_right([list(row) for row in rows], pad_id).to(device)
        told = torch.zeros(mask.shape, device=device)
        told[mask] = torch.tensor([value for row in logprobs for value in row], device=device)
        finished = [row[-1] in stops for row in rows]
        return cls(responses, mask, torch.tensor(finished, device=device), told)

    def ids(self, row: int) -> list[int]:
        """The sampled tokens of one row: `(R,)` without padding."""
        tokens: list[int] = self.responses[row][self.response_mask[row]].tolist()
        return tokens


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_p: float = 1.0,
    batch_size: int = 128,
    on_batch: Callable[[int], None] | None = None,
) -> Generated:
    """Sample one response to each of B prompts (token ids, as `chat.prompt_ids` makes them).

    The model is put in evaluation mode meanwhile. `on_batch(n)` is called after each batch of n.
    `generator` lives on the model's device; the same state gives the same responses.
    """
    was_training = model.training
    model.eval()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    parts, rows = [], []
    try:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = [prompts[i] for i in chosen]
            parts.append(_decode(model, tokenizer, batch, max_new_tokens, generator, temperature, top_p))
            rows += chosen
            if on_batch:
                on_batch(len(chosen))
    finally:
        model.train(was_training)
    return _in_order(parts, rows, tokenizer.pad_token_id)


def left_pad(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts as `(B, P)` ids and mask (True on tokens), padded on the left so that all end together."""
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, mask


def _decode(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float,
    top_p: float,
) -> Generated:
    """One batch, token by token. `alive` holds the rows that are still going, in cache order."""
    device, pad, known = model.device, tokenizer.pad_token_id, stop_ids(model, tokenizer)
    if is_recurrent(model):
        draw = lambda logits: _sample(logits.float() / temperature, top_p, generator)  # noqa: E731
        return Generated.of(*replies(model, pad, prompts, max_new_tokens, draw, known), pad, known, device)
    stops = torch.tensor(known, device=device)
    ids, mask = left_pad(prompts, pad, device)
    size = len(prompts)
    responses = torch.full((size, max_new_tokens), pad, device=device)
    logprobs = torch.zeros((size, max_new_tokens), device=device)
    lengths = torch.zeros(size, dtype=torch.long, device=device)
    finished = torch.zeros(size, dtype=torch.bool, device=device)
    cache = DynamicCache(config=model.config)
    alive, going = torch.arange(size, device=device), torch.ones(size, dtype=torch.bool, device=device)
    place = position_ids(mask)
    for step in range(max_new_tokens):
        with models.autocast(device):
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=place,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        tokens, chances = _sample(output.logits[:, -1].float() / temperature, top_p, generator)
        tokens = torch.where(going, tokens, pad)
        responses[alive, step], logprobs[alive, step] = tokens, chances * going
        lengths[alive] += going
        stopped = torch.isin(tokens, stops)
        finished[alive] |= going & stopped
        going &= ~stopped
        if not going.any():
            break
        if going.float().mean() <= COMPACT_AT:  # the cache shrinks to the rows that still speak
            keep = going.nonzero().squeeze(-1)
            cache.batch_select_indices(keep)
            alive, tokens, mask, place, going = alive[keep], tokens[keep], mask[keep], place[keep], going[keep]
        ids = tokens[:, None]
        place = place[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    width = int(lengths.max())
    response_mask = torch.arange(width, device=device) < lengths[:, None]
    return Generated(responses[:, :width], response_mask, finished, logprobs[:, :width])


def _sample(logits: torch.Tensor, top_p: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a token a row from `(B, V)` tempered logits; its log-probability is that of the whole distribution."""
    logp = torch.log_softmax(logits, dim=-1)
    weights = logp.exp() if top_p >= 1 else _nucleus(logp.exp(), top_p)
    tokens = _draw(weights, generator)
    return tokens.squeeze(-1), logp.gather(-1, tokens).squeeze(-1)


def _draw(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A column a row, with the chances that `(B, V)` weights give: `(B, 1)`.

    Where a uniform number falls among the running sums; `torch.multinomial` draws B * V numbers for that.
    """
    sums = weights.double().cumsum(dim=-1)
    uniform = torch.rand(len(weights), 1, generator=generator, device=weights.device, dtype=torch.float64)
    found = torch.searchsorted(sums, uniform * sums[:, -1:], right=True)  # right: never a token of weight 0
    return found.clamp(max=weights.shape[1] - 1)


def _nucleus(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero all but the likeliest tokens whose mass reaches `top_p`; the first always stays (Holtzman et al. 2020)."""
    sorted_probs, index = probs.sort(dim=-1, descending=True)
    before = sorted_probs.cumsum(-1) - sorted_probs
    return torch.zeros_like(probs).scatter(-1, index, sorted_probs.masked_fill(before >= top_p, 0.0))


def _in_order(parts: list[Generated], rows: list[int], pad: int) -> Generated:
    """Join batches of different widths and put row `rows[i]` back to its place."""
    width = max(part.responses.shape[1] for part in parts)
    back = torch.tensor(rows, device=parts[0].responses.device).argsort()

    def join(tensors: list[torch.Tensor], fill: float) -> torch.Tensor:
        padded = [torch.nn.functional.pad(t, (0, width - t.shape[1]), value=fill) for t in tensors]
        return torch.cat(padded)[back]

    return Generated(
        responses=join([part.responses for part in parts], pad),
        response_mask=join([part.response_mask for part in parts], 0),
        finished=torch.cat([part.finished for part in parts])[back],
        logprobs=join([part.logprobs for part in parts], 0.0),
    )


def train(config: SampleConfig, inputs: SampleInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """The `sample` stage: K responses of each model to each prompt, in `responses.jsonl`.

    With `distinct`, K * oversample are drawn and the first K different texts stay. Rows are ordered by
    prompt, model and draw. Prompts that leave no room for a response are counted and named, not cut.
    Raises Paused when that was asked for.
    """
    prompts = list(read_prompts(inputs.prompts))
    keys = [prompt.key for prompt in prompts]
    draws = config.draws
    meter = Meter(reporter, "sample", len(prompts) * draws * len(inputs.models))

    def count(done: int) -> None:
        meter.step(by=done)
        if reporter.paused():
            raise Paused("Sampling saves nothing on its way: it begins again, with the same draws.")

    rows: list[dict[str, Any]] = []
    skipped: dict[str, int] = {}
    refused: dict[str, dict[str, int]] = {}
    for name, folder in inputs.models.items():
        tokenizer = models.load_tokenizer(folder)
        model = models.load_causal_lm(folder, tokenizer, trained=False)
        screened = screen(tokenizer, [(prompt, ()) for prompt in prompts], config.template_refusals)
        screened.note(f"prompts for {name}", reporter)
        refused |= {name: counted} if (counted := screened.counts()) else {}
        found, skipped[name] = _sample_model(model, tokenizer, name, screened.prompts, draws, config, count, keys)
        rows += found
        if skipped[name]:
            reporter.note(
                f"{name}: {skipped[name]} prompts are too long for the model and were left out.", level="warning"
            )
    rows.sort(key=lambda row: row["prompt"])  # stable: models stay in the order in which they were named
    if not rows:
        cause = "No response was sampled: every prompt is too long."
        if any(counted.get("template_refused") for counted in refused.values()):
            cause = "No response was sampled: every prompt is too long, or one that the chat template refuses."
        raise StageError(ErrorKind.BAD_INPUT, cause, "Shorten them, or set template_refusals to 'merge_turns'.")
    with (out_dir / "responses.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(canonical_json(row) + "\n" for row in rows)
    reporter.samples(0, [{"prompt": prompts[r["prompt"]].text, "response": r["text"]} for r in rows[:8]])
    return StageResult(
        "sample", _summary(rows, len(prompts)), {"skipped": skipped, **({"screened": refused} if refused else {})}
    )


def read_prompts(path: Path) -> Iterator[Prompt]:
    """The file's prompts; StageError(BAD_INPUT) names the line that is none, or an empty file."""
    count = 0
    try:
        for prompt in read_jsonl(path, Prompt):
            count += 1
            yield prompt
    except (ValueError, OSError) as error:
        raise StageError(ErrorKind.BAD_INPUT, str(error), "Each line must be one prompt record.") from error
    if not count:
        raise StageError(ErrorKind.BAD_INPUT, f"{path} holds no prompts.", "Give at least one.")


def _sample_model(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    prompts: Sequence[Prompt | None],
    draws: int,
    config: SampleConfig,
    on_batch: Callable[[int], None],
    keys: Sequence[str],
) -> tuple[list[dict[str, Any]], int]:
    """One model's rows, and how many prompts were too long for it; None: its template refuses that prompt."""
    encoded = {i: chat.prompt_ids(tokenizer, prompt) for i, prompt in enumerate(prompts) if prompt}
    limit = models.context_length(model)
    fits = [i for i, ids in encoded.items() if limit is None or len(ids) + config.max_response_length <= limit]
    flat = [i for i in fits for _ in range(draws)]
    if not flat:
        return [], len(encoded)
    generated = generate(
        model,
        tokenizer,
        [encoded[i] for i in flat],
        max_new_tokens=config.max_response_length,
        generator=torch.Generator(model.device).manual_seed(config.seed),
        temperature=config.temperature,
        top_p=config.top_p,
        batch_size=config.batch_size,
        on_batch=on_batch,
    )
    sampling = config.model_dump(include={"temperature", "top_p", "max_response_length", "seed"})
    rows = []
    for place, prompt in enumerate(fits):
        for row in _keep(generated, tokenizer, range(place * draws, (place + 1) * draws), config):
            rows.append({"prompt": prompt, "key": keys[prompt], "model": name, **row, "sampling": sampling})
    return rows, len(encoded) - len(fits)


def _keep(
    generated: Generated, tokenizer: PreTrainedTokenizerBase, draws: range, config: SampleConfig
) -> list[dict[str, Any]]:
    """The first K of a prompt's draws; or, distinct, its first K different texts that say anything."""
    kept: dict[Any, dict[str, Any]] = {}
    for draw in draws:
        ids = generated.ids(draw)
        text = chat.decode(tokenizer, ids)
        if text or not config.distinct:  # an empty reply is nothing to rank, but it counts where replies are judged
            row = {"text": text, "finished": bool(generated.finished[draw]), "tokens": len(ids)}
            kept.setdefault(text if config.distinct else draw, row)
    return list(kept.values())[: config.kept]


def _summary(rows: list[dict[str, Any]], prompts: int) -> dict[str, float]:
    return {
        "prompts": prompts,
        "responses": len(rows),
        "finished_share": sum(row["finished"] for row in rows) / len(rows),
        "mean_tokens": sum(row["tokens"] for row in rows) / len(rows),
    }
