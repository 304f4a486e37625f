"""PPO and the reward model's step at the size of a real model, random weights: seconds by phase, memory, ceilings.

The 1.3B shape of Llama: prompts of 256 tokens, responses of up to 256, batch 64. On a CPU the same with few layers.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from alignment.models.adapters import add_adapters
from alignment.models.device import dtype_for
from alignment.models.sharing import scorer_on, with_own_head
from alignment.ppo import roles
from alignment.ppo.learner import Learner
from alignment.ppo.update import update
from alignment.reward.batch import collate_rankings
from alignment.reward.examples import Example, PairTarget, Vote
from alignment.reward.forward import ranking_forward
from alignment.reward.step import batch_loss
from alignment.rollout import plain_decoding
from alignment.rollout.decode_support import support_of
from alignment.rollout.engines import Plain
from alignment.rollout.fixed_decoding import DecodeRunner
from alignment.rollout.sampling import Numbers, Sampling
from alignment.shared.config import LoRAConfig, PPOConfig, RewardConfig
from alignment.shared.memory import ModelShape, OnDevice, memory_of
from alignment.training.ready import make_ready
from tests.gpu.bench import Bench
from tests.gpu.ceilings import bandwidth, matrix_rate
from tests.support.alignment import tiny


@dataclass(frozen=True)
class Shape:
    """Of the models and of the work."""

    config: dict[str, int]
    batch: int
    micro: int
    prompt: int
    response: int

    @property
    def tokens(self) -> int:
        return self.batch * (self.prompt + self.response)


LARGE = Shape(
    {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 24, "num_attention_heads": 16}
    | {"num_key_value_heads": 16, "vocab_size": 32_000, "max_position_embeddings": 1024},
    batch=64, micro=8, prompt=256, response=256,
)  # fmt: skip
SMALL = Shape(
    {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    | {"num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 128},
    batch=4, micro=2, prompt=16, response=8,
)  # fmt: skip


def lora(bench: Bench) -> dict[str, Any]:
    """PPO with adapters on one base."""
    return _phases(bench, LoRAConfig())


def full(bench: Bench) -> dict[str, Any]:
    """PPO with four models."""
    return _phases(bench, None)


def reward_step(bench: Bench) -> dict[str, Any]:
    """One step of the reward model on four responses a prompt, through batch and loss."""
    shape = _shape(bench)
    model = _scorer(bench, shape).train()
    examples = [_example(shape, number) for number in range(4)]
    config = RewardConfig()
    with bench.peak() as peak, ranking_forward(model):

        def step() -> None:
            batch = collate_rankings(examples, 1, shape.config["hidden_size"])
            parts = {name: _there(value, bench) for name, value in vars(batch).items()}
            scores = model(**{n: parts[n] for n in ("input_ids", "segments", "position_ids", "ends")})
            loss = batch_loss(scores, type(batch)(**parts), config, float(len(examples))).loss
            loss.backward()  # type: ignore[no-untyped-call]
            assert torch.isfinite(loss)

        step()
        seconds = bench.seconds(step)
    return {"seconds": seconds, "rankings": len(examples), "peak_gb": peak["bytes"] / 1e9}


def decode(bench: Bench) -> dict[str, Any]:
    """A reply's token in each way of decoding: milliseconds, and reading the weights once as a share of that."""
    shape = _shape(bench)
    model = _made(bench, shape, LlamaForCausalLM, dtype_for(bench.device, trained=False)).eval().requires_grad_(False)
    prompts = torch.randint(7, 500, (shape.batch, shape.prompt)).tolist()
    most, length = shape.response // 4, shape.prompt + shape.response // 4
    rule = Sampling(1.0, 1.0, (-1,), 1)  # none stops
    numbers = torch.rand(shape.batch, most, dtype=torch.float64, device=bench.device)
    ways: dict[str, Any] = {"plain": lambda source: plain_decoding.decode(model, most, rule, prompts, source)}
    runners = {
        name: DecodeRunner(model, rule, shape.batch, length, most, graphs=name == "graphs")
        for name in ("steps", "graphs")
    }
    ways |= {
        name: lambda source, runner=runner: runner.decode(model, most, prompts, source)
        for name, runner in runners.items()
    }
    said: dict[str, Any] = {}
    floor = 2 * sum(weight.numel() for weight in model.parameters()) / bandwidth(bench)
    with torch.no_grad():
        for name, way in ways.items():
            source = Numbers(torch.Generator(bench.device), numbers)
            way(source)  # warms up, and captures
            said[f"{name}_ms"] = 1e3 * bench.seconds(lambda way=way, source=source: way(source)) / most
            said[f"{name}_of_floor"] = 1e3 * floor / said[f"{name}_ms"]
    found = support_of(model, tiny.tokenizer())
    return said | {
        "graphs": len(runners["graphs"].graphs),
        "rows_at_once": found.rows_at_once(2**20, length) if found else None,
    }


def _phases(bench: Bench, adapters: LoRAConfig | None) -> dict[str, Any]:
    shape = _shape(bench)
    gc.collect()
    config = PPOConfig(
        batch_size=shape.batch, micro_batch_size=shape.micro, inner_epochs=1, max_length=shape.prompt + shape.response,
        max_response_length=shape.response, lora=adapters, gradient_checkpointing=not bench.small,
    )  # fmt: skip
    with bench.peak() as peak:
        engine = Plain()
        cast = replace(_cast(bench, shape, config), engine=engine)
        held = _held(bench)
        source, shuffling = torch.Generator(bench.device).manual_seed(0), torch.Generator().manual_seed(0)
        prompts = torch.randint(7, 500, (shape.batch, shape.prompt)).tolist()
        learners = Learner.of(cast.policy, 1e-6, config), Learner.of(cast.critic, 1e-6, config)
        seconds: dict[str, float] = {}
        for _ in range(1 if bench.small else 2):  # the first one warms up
            found: dict[str, Any] = {}
            seconds["sync"] = bench.seconds(lambda: engine.copy.of(cast.policy)) if engine.copies(cast.policy) else 0.0
            seconds["rollout"] = bench.seconds(
                lambda found=found: found.update(said=roles.reply(cast, prompts, config, source))
            )
            seconds["score"] = bench.seconds(
                lambda found=found: found.update(rollout=roles.record(cast, found["said"].sequences, config))
            )
            seconds["update"] = bench.seconds(
                lambda found=found: update(cast, *learners, found["rollout"], config, shuffling)
            )
    steps = found["said"].sequences.response_mask.shape[1]
    said = seconds | _shares(bench, shape, cast, steps, seconds)
    return said | {"held_gb": held, "peak_gb": peak["bytes"] / 1e9} | _estimate(bench, shape, config)


def _estimate(bench: Bench, shape: Shape, config: PPOConfig) -> dict[str, float]:
    """What `:validate` would say of it: the whole, and the weights of each role."""
    width, layers, words = (shape.config[name] for name in ("hidden_size", "num_hidden_layers", "vocab_size"))
    inner = shape.config["intermediate_size"]
    weights = layers * (4 * width**2 + 3 * width * inner) + 2 * words * width
    model = ModelShape(weights, layers * (8 * width + 3 * (width + inner)), width, layers, words)
    judge = replace(model, weights=weights - words * width, adapters=model.linear * 16)
    found = memory_of(config, {"model": model, "reward_model": judge}, OnDevice(bench.device.type == "cuda", True))
    return {"estimate_gb": found.total / 1e9, **{f"{role}_gb": size / 1e9 for role, size in found.roles.items()}}


def _shares(
    bench: Bench, shape: Shape, cast: roles.ActorCritic, steps: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """Decoding as a share of what reading the weights once a token would take, the update of the matrix rate."""
    weights = sum(weight.numel() for weight in cast.policy.parameters())
    floor = steps * weights * 2 / bandwidth(bench)
    # Forward and backward of policy and critic: 6 operations a weight and token, 4 where the weights are frozen.
    operations = 2 * (6 if cast.reference is not None else 4) * weights * shape.tokens
    return {
        "tokens": steps,
        "decode_of_floor": floor / seconds["rollout"],
        "update_of_rate": operations / seconds["update"] / matrix_rate(bench),
    }


def _cast(bench: Bench, shape: Shape, config: PPOConfig) -> roles.ActorCritic:
    """The four roles on random weights, made where they are used."""
    frozen = dtype_for(bench.device, trained=False)
    if config.lora is None:
        policy, reference = (_made(bench, shape, LlamaForCausalLM, torch.float32) for _ in range(2))
        reference.load_state_dict(policy.state_dict())
        judge, critic = _scorer(bench, shape, frozen).requires_grad_(False), _scorer(bench, shape)
        reference.eval().requires_grad_(False)
    else:
        base = _made(bench, shape, LlamaForCausalLM, frozen).requires_grad_(False)
        judge, reference = scorer_on(base), None
        assert judge is not None, "a Llama's scorer has a Llama's trunk"
        torch.nn.init.normal_(judge.score.weight)
        policy = add_adapters(base.train(), config.lora, "CAUSAL_LM", 0)
        critic = add_adapters(with_own_head(judge).train(), config.lora, "SEQ_CLS", 0)
    for model in (policy, critic):
        make_ready(model, config)
    return roles.ActorCritic(
        tiny.tokenizer(), policy.train(), reference, judge.eval(), roles.ScoreScaler(), critic=critic
    )


def _made(bench: Bench, shape: Shape, kind: Any, dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(**shape.config, pad_token_id=1, eos_token_id=2, num_labels=1)
    with torch.device(bench.device):
        return kind(config).to(dtype)


def _scorer(bench: Bench, shape: Shape, dtype: torch.dtype = torch.float32) -> Any:
    return _made(bench, shape, LlamaForSequenceClassification, dtype)


def _example(shape: Shape, number: int) -> Example:
    generator = torch.Generator().manual_seed(number)

    def tokens(count: int) -> list[int]:
        return torch.randint(7, 500, (count,), generator=generator).tolist()

    pairs = tuple(PairTarget(i, j, 1.0, 0.0, 1 / 6) for i in range(4) for j in range(i + 1, 4))
    responses = [tokens(shape.response) for _ in range(4)]
    return Example(tokens(shape.prompt), responses, pairs, (Vote((0, 1, 2, 3), 1.0),), (), 1.0, (0,))


def _there(value: Any, bench: Bench) -> Any:
    return value.to(bench.device) if isinstance(value, torch.Tensor) else value


def _held(bench: Bench) -> float:
    return torch.cuda.memory_allocated() / 1e9 if bench.device.type == "cuda" else 0.0


def _shape(bench: Bench) -> Shape:
    return SMALL if bench.small else LARGE


CHECKS = {
    "1.3B: decode": decode,
    "1.3B: ppo, lora on one base": lora,
    "1.3B: ppo, full": full,
    "1.3B: reward step": reward_step,
}
