"""What a stage takes on each device, part by part, before anything is loaded.

Models follow Rajbhandari et al. 2020 (ZeRO, section 3): trained weights are float32 with a gradient and AdamW's two
moments, frozen ones bfloat16 on a GPU and float32 on a CPU. Activations follow Korthikanti et al. 2022, eq. 1 without
its attention term (the attention that we use keeps no scores), counted by what goes into the linear layers and comes
out: a gated feed-forward keeps twice as much as the plain one that they had. They are a rule of thumb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from alignment.shared.config import PPOConfig, RewardConfig, SharedConfig, TrainingConfig
from alignment.shared.gpus import can_share
from alignment.shared.methods import ADAPTERS, Bottleneck, OwnWeights, Rescaling, SoftPrompt
from alignment.shared.policy.ppo_config import CPU_LANES
from alignment.shared.settings import LoRAConfig

FLOAT, HALF = 4, 2  # bytes of a number
PACKED = 33 / 64  # bytes of a number in four bits: a half, and a byte for 64 (Dettmers et al. 2023, section 3)
PAIR = 2  # responses of a prompt in one forward pass, at least
KEPT = 1.25  # numbers for the gradient, as times what goes into a block's linear layers and comes out of them
PLAIN, GATED = 17, 40  # of them for each of the width: at least, and, as a token meets few of many experts, at most
LOGIT_CHUNK = 4096  # tokens of which PPO has logits at one time (forward.py)
TILE_TOKENS, TILE_WORDS = 256, 32768  # a block of the logits that SFT has at one time on a CPU (cpu/tiles.py)
TILES = 8  # tensors of a block's size that TRL's head works its gradient out in there
# By lanes, times what a micro-batch frees: what a CPU's heap keeps of it between blocks of other lengths, of two lanes
# also between the other's (bench_memory).
HEAP = {1: 0.6, 2: 3.0}
KERNEL_TOKENS = 4096  # of a block on a GPU, where a kernel does so in place
KEPT_FOR_DECODING = 2 * 2**30  # bytes that stay on a GPU between two rollouts, at most (rollout/decode_support.py)
DRAWING = 72  # bytes of each word of the vocabulary while a row's token is drawn; CUDA graphs keep them


@dataclass(frozen=True)
class ModelShape:
    weights: int  # numbers in all tensors
    linear: int  # inputs plus outputs of all linear layers: what an adapter of rank 1 has
    width: int
    layers: int
    vocabulary: int
    adapters: int = 0  # numbers of the adapters in the folder itself; the rest is of the base under them
    block: int = 0  # numbers in one of its blocks
    biases: int = 0
    rescaled: int = 0  # keys, values and feed-forward activations of all blocks: what IA3 has
    ends: int = 0  # layers that end a sublayer: where bottleneck adapters stand
    context: int = 0  # tokens that its positions reach; 0: not told


@dataclass(frozen=True)
class OnDevice:
    gpus: float
    judge_on_base: bool = False  # the reward model is adapters on the policy's own base

    @property
    def frozen(self) -> int:
        """Bytes of a frozen number."""
        return HALF if self.gpus else FLOAT


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    roles: Mapping[str, int]  # weights by role
    gradients: int
    optimizer: int
    activations: int
    logits: int
    cache: int  # keys and values of a rollout
    rollout_copy: int  # of the policy's weights, in the type that decodes
    host: int  # copies in the memory of the CPU: of the policy that is kept, and what a checkpoint is written from
    on_cpu: bool  # the device is the CPU: that is its memory, too
    resting: int = 0  # of the weights, those that wait in the host's memory
    awake: int = 0  # of those, the largest role's, which is here while it is asked
    cache_kept: int = 0  # of the cache, what may stay between two rollouts

    @property
    def weights(self) -> int:
        return sum(self.roles.values())

    @property
    def total(self) -> int:
        """At the worst moment: a rollout, what frozen roles say of it, and an update are not at once."""
        kept = self.weights - self.resting + self.optimizer + self.rollout_copy + (self.host if self.on_cpu else 0)
        others = max(self.awake, self.gradients + self.activations + self.logits)
        return kept + max(self.cache, self.cache_kept + others)


def memory_of(config: TrainingConfig, shapes: Mapping[str, ModelShape], machine: OnDevice) -> Memory:
    """`shapes` by the name of the input: `model`, and for PPO `reward_model`. No text is longer than a model reads."""
    reach = [shape.context for shape in shapes.values() if shape.context]
    config = config.model_copy(update={"max_length": min([config.max_length, *reach])})
    trained, lanes = sum(trained_by_role(config, shapes).values()), _lanes(config, machine)
    policy = shapes["model"]
    largest = [_activations(config, shape, machine) for shape in shapes.values()]
    roles = _roles(config, shapes, machine)
    rests = isinstance(config, PPOConfig) and config.offload_frozen and machine.gpus
    resting = [roles["reference"], roles["reward_model"]] if rests else [0]
    cache, heap = _cache(config, policy, machine), 0.0 if machine.gpus else HEAP[lanes]
    found = Memory(
        roles=roles,
        gradients=lanes * FLOAT * trained,
        optimizer=2 * FLOAT * trained,
        activations=round((lanes + heap) * max(largest)),
        logits=round((lanes + heap) * _logits(config, policy, machine)),
        cache=cache,
        cache_kept=min(cache, KEPT_FOR_DECODING) if machine.gpus else 0,
        rollout_copy=HALF * policy.weights if _is_copied(config, machine) else 0,
        host=_host(config, shapes) + sum(resting),
        on_cpu=not machine.gpus,
        resting=sum(resting),
        awake=max(resting),
    )
    return _shared(found, machine) if _is_shared(config) else found


def instead(config: TrainingConfig, shapes: Mapping[str, ModelShape], machine: OnDevice) -> Iterator[tuple[str, int]]:
    """What would take less, each by itself, in words, and the total then."""
    own = memory_of(config, shapes, machine).total
    for said, update, gpus in _changes(config, machine.gpus):
        there = OnDevice(gpus, machine.judge_on_base)
        total = memory_of(config.model_copy(update=update), shapes, there).total
        if total < own:
            yield said, total


def _changes(config: TrainingConfig, gpus: float) -> Iterator[tuple[str, dict[str, object], float]]:
    if config.light is None:
        whole = {"method": None, "frozen_trunk": False, "offload_frozen": False}
        yield "lora", whole | {"lora": LoRAConfig()}, gpus
    if isinstance(config.light, LoRAConfig) and not config.light.bits and gpus and not _is_shared(config):
        yield "lora.bits 4", {"lora": config.light.model_copy(update={"bits": 4}), "save_adapter": True}, gpus
    if isinstance(config, PPOConfig) and gpus and not (config.light or config.shard_weights or config.offload_frozen):
        yield "offload_frozen", {"offload_frozen": True}, gpus
    if not config.gradient_checkpointing:
        yield "gradient_checkpointing", {"gradient_checkpointing": True}, gpus
    if config.micro_batch_size > 1:
        yield "micro_batch_size 1", {"micro_batch_size": 1}, gpus
    if isinstance(config, SharedConfig) and gpus >= 1 and not _is_packed(config):
        more = int(max(2, gpus if not config.shard_weights else 2 * gpus))
        if can_share(config, more):  # else the door would refuse what we advise
            update: dict[str, object] = {"shard_weights": True, "offload_frozen": False}
            yield f"gpus {more} with shard_weights", update, float(more)


def _is_shared(config: TrainingConfig) -> bool:
    return isinstance(config, SharedConfig) and config.shard_weights


def trained_by_role(config: TrainingConfig, shapes: Mapping[str, ModelShape]) -> dict[str, int]:
    """Trained numbers of the model, and for PPO of the critic, which begins as the reward model."""
    roles = ("model", "reward_model") if isinstance(config, PPOConfig) else ("model",)
    return {role: trained_of(config, shapes[role]) for role in roles}


def checkpoint_of(config: TrainingConfig, shapes: Mapping[str, ModelShape]) -> int:
    """Bytes of a checkpoint: trained weights and AdamW's moments; of PPO the kept policy, and the average if any."""
    trained = trained_by_role(config, shapes)
    whole = 3 * FLOAT * sum(trained.values())
    return whole + FLOAT * trained["model"] * (1 + _averages(config)) if isinstance(config, PPOConfig) else whole


def _host(config: TrainingConfig, shapes: Mapping[str, ModelShape]) -> int:
    """PPO writes its checkpoints from a copy, beside training; the kept policy in it is the one that is there."""
    return checkpoint_of(config, shapes) if isinstance(config, PPOConfig) else 0


def _averages(config: PPOConfig) -> int:
    return 0 if config.ema_decay is None else 1


def trained_of(config: TrainingConfig, shape: ModelShape) -> int:
    """Trained numbers of one model."""
    if isinstance(config, RewardConfig) and config.frozen_trunk:
        return shape.width
    match config.light:
        case None:
            return shape.weights
        case LoRAConfig(rank=rank, dora=dora):
            return shape.linear * (rank + dora)  # DoRA has a length for each output besides
        case Rescaling():
            return shape.rescaled
        case Bottleneck(width=width):
            return shape.ends * (2 * shape.width * width + width + shape.width)
        case OwnWeights(biases=True):
            return shape.biases
        case OwnWeights(layers=int(count)):
            return min(count, shape.layers) * shape.block
        case OwnWeights():
            return shape.weights  # parts by name: all of it at most
        case SoftPrompt(kind="prefix", tokens=tokens):
            return tokens * 2 * shape.layers * shape.width
        case SoftPrompt(kind=kind, tokens=tokens):
            return tokens * shape.width + (3 * shape.width**2 if kind == "p_tuning" else 0)


def _roles(config: TrainingConfig, shapes: Mapping[str, ModelShape], machine: OnDevice) -> dict[str, int]:
    """With adapters the base is frozen and the reference is that base; the critic stands on the reward model."""
    trained, policy, frozen = trained_by_role(config, shapes), shapes["model"], machine.frozen
    if not isinstance(config, PPOConfig):
        whole = _is_float(config) and not (isinstance(config, RewardConfig) and config.frozen_trunk)
        return {
            "model": FLOAT * policy.weights if whole else _under(config, policy, machine) + FLOAT * trained["model"]
        }
    judge = shapes["reward_model"]
    average = {"average": FLOAT * trained["model"]} if _averages(config) else {}
    if _is_float(config):
        found = average | {
            "policy": FLOAT * policy.weights,
            "reference": FLOAT * trained["model"],
        }  # the rest is shared
        return found | {"critic": FLOAT * judge.weights, "reward_model": frozen * judge.weights}
    found = average | {"base": _under(config, policy, machine), "policy": FLOAT * trained["model"]}
    found |= {"critic": FLOAT * trained["reward_model"]}
    return found | {"reward_model": FLOAT * judge.adapters if machine.judge_on_base else frozen * judge.weights}


def _under(config: TrainingConfig, shape: ModelShape, machine: OnDevice) -> int:
    """Bytes of the frozen weights under what is trained."""
    packed = shape.layers * shape.block if _is_packed(config) else 0
    return math.ceil(PACKED * packed) + machine.frozen * (shape.weights - packed)


def _is_packed(config: TrainingConfig) -> bool:
    return isinstance(config.light, LoRAConfig) and config.light.bits is not None


def _is_float(config: TrainingConfig) -> bool:
    """Whether the model itself is trained, in full or in part, and so has the optimizer's number type."""
    return config.light is None or isinstance(config.light, OwnWeights)


def _is_copied(config: TrainingConfig, machine: OnDevice) -> bool:
    """Whether replies are decoded on a copy of the policy."""
    return isinstance(config, PPOConfig) and machine.gpus > 0 and config.tuned not in ADAPTERS


def _lanes(config: TrainingConfig, machine: OnDevice) -> int:
    """Micro-batches at a time."""
    cut = isinstance(config, PPOConfig) and config.batch_size // config.mini_batches > config.micro_batch_size
    return CPU_LANES if cut and not machine.gpus else 1


def _texts(config: TrainingConfig) -> int:
    return config.micro_batch_size * (PAIR if isinstance(config, RewardConfig) else 1)


def _activations(config: TrainingConfig, shape: ModelShape, machine: OnDevice) -> int:
    """Of one micro-batch of texts of full length."""
    number = HALF if machine.gpus else FLOAT
    tokens = _texts(config) * config.max_length
    states, layer = number * tokens * shape.width, number * tokens * _kept(shape)
    if isinstance(config.light, OwnWeights) and isinstance(config.light.layers, int) and config.light.layers:
        return min(config.light.layers, shape.layers) * layer  # nothing below the last blocks has a gradient
    return shape.layers * states + layer if config.gradient_checkpointing else shape.layers * layer


def _kept(shape: ModelShape) -> int:
    """Numbers that a block keeps of one token until its gradient is there."""
    linear = int(KEPT * shape.linear / max(1, shape.layers))
    return max(PLAIN * shape.width, min(linear, GATED * shape.width))


def _logits(config: TrainingConfig, shape: ModelShape, machine: OnDevice) -> int:
    """What of the logits is there at one time, in float32: of PPO those of a chunk and their gradient; of SFT what
    TRL's head has, on a GPU a block of full width and a copy of frozen weights. Where micro-batches are added up it
    makes each one's gradient of its weights beside the sum."""
    if isinstance(config, RewardConfig):
        return 0
    if isinstance(config, PPOConfig):
        tokens = min(_texts(config) * config.max_response_length, LOGIT_CHUNK)
        return 2 * FLOAT * shape.vocabulary * tokens
    tokens = min(_texts(config) * config.max_length, KERNEL_TOKENS if machine.gpus else TILE_TOKENS)
    words = min(shape.vocabulary, TILE_WORDS)
    adds_up = config.light is None and config.batch_size > config.micro_batch_size * max(1, machine.gpus)
    added = FLOAT * shape.vocabulary * shape.width if adds_up else 0
    if not machine.gpus:
        return TILES * FLOAT * tokens * words + added
    return FLOAT * (tokens * TILE_WORDS + (words * shape.width if config.light else 0)) + added


def _cache(config: TrainingConfig, shape: ModelShape, machine: OnDevice) -> int:
    """Keys and values of a batch of texts of full length, as wide as the model where heads share them less; on a GPU
    also what it takes to draw their tokens, which graphs keep."""
    if not isinstance(config, PPOConfig):
        return 0
    text = 2 * machine.frozen * config.max_length * shape.width * shape.layers
    return config.batch_size * (text + (DRAWING * shape.vocabulary if machine.gpus else 0))


def _shared(found: Memory, machine: OnDevice) -> Memory:
    """Each device's share of what its processes divide among them."""
    if machine.gpus <= 1:
        return found
    part = {role: math.ceil(size / machine.gpus) for role, size in found.roles.items()}
    gradients, optimizer, host = (
        math.ceil(size / machine.gpus) for size in (found.gradients, found.optimizer, found.host)
    )
    return replace(found, roles=part, gradients=gradients, optimizer=optimizer, host=host)
