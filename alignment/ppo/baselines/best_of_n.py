"""Best of n, a baseline for PPO without any training: the response that the reward model likes best of n.

    python -m alignment best-of-n config.toml

Its KL to the sampling policy is at most log n - (n - 1) / n nats (Stiennon et al. 2020, G.3), so it stands beside PPO's
evaluations at the same KL. Its price is n responses for each that is used. `best_of_n.jsonl` holds, for each prompt,
the best and the first response with their scores.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.screening import screen
from alignment.models.forward import score_rows
from alignment.models.load import load_causal_lm, load_reward_model, load_tokenizer
from alignment.ppo.prompt_set import fit, room_for
from alignment.rollout.generation import generate, read_prompts
from alignment.rollout.requirements import require_numbers, require_same_tokens
from alignment.shared import gate
from alignment.shared.config import BestOfNConfig, GateConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Meter, Reporter, StageResult
from alignment.shared.records import canonical_json
from alignment.shared.sentence import Sentence
from alignment.shared.stages import PPOInputs

CHOSEN = "best_of_n.jsonl"
SCORES = ("score", "first_score")


def train(config: BestOfNConfig, inputs: PPOInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Answer every prompt n times and write the best into `out_dir`. Raises BadInput, Diverged."""
    # Nothing is trained against the reward model, so one that the gate refuses is said and not refused.
    decision = gate.noted(gate.decide(gate.read(inputs.reward_model), GateConfig()), reporter)
    tokenizer = load_tokenizer(inputs.model)
    require_same_tokens(tokenizer, inputs)
    policy = load_causal_lm(inputs.model, tokenizer, trained=False)
    judge = load_reward_model(inputs.reward_model, tokenizer)
    prompts = list({p.key: p for p in read_prompts(inputs.prompts)}.values())
    screened = screen(tokenizer, [(prompt, ()) for prompt in prompts], config.template_refusals)
    screened.note("prompts", reporter)
    taken = [prompt for prompt in screened.prompts if prompt]
    asked = fit(tokenizer, taken, room_for(config, policy, judge))
    if not asked:
        raise _no_room(len(taken), config.max_response_length)
    meter = Meter(reporter, "best-of-n", len(asked))
    generator = torch.Generator(policy.device).manual_seed(config.seed)
    rows: list[dict[str, Any]] = []
    for prompt, ids in asked:
        best_and_first = _best_of_draws(config, policy, judge, tokenizer, ids, generator)
        rows.append({"prompt": prompt.text, "key": prompt.key, "criterion": prompt.criterion, **best_and_first})
        meter.step({name: best_and_first[name] for name in SCORES})
    with (out_dir / CHOSEN).open("w", encoding="utf-8") as file:
        file.writelines(canonical_json(row) + "\n" for row in rows)
    metrics = {name: sum(row[name] for row in rows) / len(rows) for name in SCORES}
    metrics |= {"kl_bound": kl_bound(config.responses_per_prompt), "prompts": float(len(rows))}
    too_long = len(taken) - len(asked)
    details = {"gate": decision.record(), "too_long": too_long, **screened.counts(), "samples": rows[:24]}
    return StageResult("best-of-n", metrics, details)


def _no_room(prompts: int, max_response_length: int) -> BadInput:
    cause = Sentence(
        "no-prompt-fits",
        "None of %(prompts)s prompts leaves room for %(max_response_length)s tokens.",
        prompts=prompts,
        max_response_length=max_response_length,
    )
    return BadInput(cause, Sentence("lower-max-response-length", "Lower max_response_length."))


def _best_of_draws(
    config: BestOfNConfig,
    policy: Any,
    judge: Any,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    generator: torch.Generator,
) -> dict[str, Any]:
    """The best and the first of n responses to one prompt, as texts with their scores. Raises Diverged."""
    drawn = generate(
        policy,
        tokenizer,
        [ids] * config.responses_per_prompt,
        max_new_tokens=config.max_response_length,
        generator=generator,
        temperature=config.temperature,
        batch_size=config.batch_size,
    )
    responses = [drawn.ids(row) for row in range(config.responses_per_prompt)]
    texts = [ids + response for response in responses]
    scores = score_rows(judge, texts, tokenizer.pad_token_id, config.batch_size)
    require_numbers(scores, texts, tokenizer)
    best = int(scores.argmax())
    row = {"response": chat.decode(tokenizer, responses[best]), "score": float(scores[best])}
    return row | {"first": chat.decode(tokenizer, responses[0]), "first_score": float(scores[0])}


def kl_bound(n: int) -> float:
    """Most nats by which the best of n differs from one draw."""
    return math.log(n) - (n - 1) / n
