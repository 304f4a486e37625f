"""Numbers of a tiny model: what must be equal, and how far apart bfloat16 puts what is not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from alignment.cpu import packing
from alignment.data.batch import Sequences
from alignment.models.device import autocast
from alignment.models.forward import response_logprobs, response_values, score_rows
from alignment.models.load import load_causal_lm, load_scorer, save_adapter, save_model
from alignment.ppo import roles
from alignment.reward import forward as reward_forward
from alignment.reward.batch import pack
from alignment.reward.examples import Example
from alignment.rollout.generation import generate
from alignment.shared.config import LoRAConfig
from tests.gpu.bench import Bench
from tests.support.alignment import small_ppo, tiny

NOISE = 0.05  # nats or scores; bfloat16 makes a few thousandths of a tiny model
PAD = 1


def sequences(bench: Bench, rows: int = 16) -> Sequences:
    """Prompts and responses of different lengths."""
    generator = torch.Generator().manual_seed(0)

    def tokens(most: int) -> list[int]:
        count = int(torch.randint(1, most, (1,), generator=generator))
        return torch.randint(7, 26, (count,), generator=generator).tolist()

    return Sequences.join([tokens(12) for _ in range(rows)], [tokens(9) for _ in range(rows)], [False] * rows, PAD).to(
        bench.device
    )


def beginning(bench: Bench) -> dict[str, Any]:
    """Before the first step the policy is the reference, and every ratio 1."""
    said = {}
    for name, lora in {"full": None, "lora": {"rank": 4}}.items():
        cast, config = small_ppo.cast_of(bench.folders, lora=lora)
        rows = sequences(bench)
        old, now, reference = (
            found(cast, rows, config)
            for found in (roles.policy_logprobs, roles.policy_logprobs, roles.reference_logprobs)
        )
        said |= {f"{name}_kl": largest_gap(old, reference), f"{name}_ratio": float((now - old).exp().max())}
        assert largest_gap(old, reference) < NOISE
        assert abs(said[f"{name}_ratio"] - 1) < 1e-3
    return said


def regrouping(bench: Bench) -> dict[str, Any]:
    """The same rows in micro-batches of another size."""
    cast, config = small_ppo.cast_of(bench.folders)
    found = [
        roles.policy_logprobs(cast, sequences(bench), config.model_copy(update={"micro_batch_size": size}))
        for size in (1, 4, 16)
    ]
    gap = max(largest_gap(found[0], other) for other in found[1:])
    assert gap < NOISE
    return {"largest_difference": gap}


def against_float32(bench: Bench) -> dict[str, Any]:
    """Log-probabilities, values and the policy's gradient here, and in float32 on the CPU."""
    tokenizer, rows, cpu = tiny.tokenizer(), sequences(bench), torch.device("cpu")
    here = load_causal_lm(bench.folders / "sft", tokenizer, trained=True, device=bench.device)
    exact = load_causal_lm(bench.folders / "sft", tokenizer, trained=True, device=cpu)
    outs, gradients = [], []
    for model, given in ((here, rows), (exact, rows.to(cpu))):
        logprobs = response_logprobs(model, given, 1.0)
        logprobs.sum().backward()  # type: ignore[no-untyped-call]
        outs.append(logprobs.detach().cpu())
        gradients.append(torch.cat([w.grad.flatten().cpu() for w in model.parameters() if w.grad is not None]))
    cosine = float(torch.nn.functional.cosine_similarity(*gradients, dim=0))
    critics = [load_scorer(bench.folders / "reward", tokenizer, trained=True, device=d) for d in (bench.device, cpu)]
    values = [response_values(m, r).detach().cpu() for m, r in zip(critics, (rows, rows.to(cpu)), strict=True)]
    gap = (outs[0] - outs[1]).abs()[rows.response_mask.cpu()]
    assert float(gap.mean()) < NOISE
    assert cosine > 0.99
    said = {"logprobs_mean": float(gap.mean()), "logprobs_most": float(gap.max()), "gradient_cosine": cosine}
    return said | {"values_most": largest_gap(*values)}


def left_padding(bench: Bench) -> dict[str, Any]:
    """What the decoder says of its tokens, prompts of unequal length side by side, and what our forward pass says."""
    cast, config = small_ppo.cast_of(bench.folders)
    source = torch.Generator(bench.device).manual_seed(0)
    prompts = [[3, 10], [4, 12, 9, 8, 7, 11, 13], [3]] * 5
    said = roles.reply(cast, prompts, config, source)
    gap = (roles.policy_logprobs(cast, said.sequences, config) - said.sampled_logprobs)[said.sequences.response_mask]
    assert float(gap.abs().mean()) < NOISE
    return {"mean": float(gap.abs().mean()), "most": float(gap.abs().max())}


def shared_prompts(bench: Bench) -> dict[str, Any]:
    """One prompt for four responses against four copies, and what decides whether that is done."""
    model = load_scorer(bench.folders / "reward", tiny.tokenizer(), trained=True, device=bench.device)
    example = Example([6, 7, 8, 9], [[10, 2], [11, 12, 2], [13, 2], [14, 15, 16, 2]], (), (), (), 1.0, (0,))
    with torch.no_grad():
        alone, shared = (reward_forward.packed_scores(model, pack([example], PAD, share=s)) for s in (False, True))
    assert reward_forward.can_share(model, [example], PAD)
    assert largest_gap(alone, shared) < NOISE
    return {"largest_difference": largest_gap(alone, shared)}


def read_again(bench: Bench) -> dict[str, Any]:
    """Scores of a trained adapter and of the saved one; log-probabilities of a policy live, saved, and merged."""
    tokenizer, rows, said = tiny.tokenizer(), [[6, 7, 8, 2], [9, 10, 2]], {}
    scorer = _moved(load_scorer(bench.folders / "sft", tokenizer, trained=True, light=LoRAConfig(rank=4)))
    policy = _moved(load_causal_lm(bench.folders / "sft", tokenizer, trained=True, light=LoRAConfig(rank=4)))
    save_adapter(scorer, tokenizer, bench.scratch / "scorer", str(bench.folders / "sft"))
    save_adapter(policy, tokenizer, bench.scratch / "policy", str(bench.folders / "sft"))
    save_model(policy, tokenizer, bench.scratch / "merged", torch.float32)
    again = load_scorer(bench.scratch / "scorer", tokenizer, trained=False)
    said["scores"] = largest_gap(score_rows(scorer, rows, PAD, 8), score_rows(again, rows, PAD, 8))
    live = response_logprobs(policy, sequences(bench), 1.0).detach()
    for name in ("policy", "merged"):
        model = load_causal_lm(bench.scratch / name, tokenizer, trained=name == "merged")
        said[name] = largest_gap(live, response_logprobs(model, sequences(bench), 1.0).detach())
    assert max(said.values()) < NOISE
    return said


def packed(bench: Bench) -> dict[str, Any]:
    """Rows without padding against rows with it; on a GPU rows have padding."""
    model: Any = load_causal_lm(bench.folders / "sft", tiny.tokenizer(), trained=False, device=bench.device)
    rows = sequences(bench)
    with packing.disabled(model):
        plain = response_logprobs(model, rows, 1.0)
    packing.enable(model)
    gap = largest_gap(plain, response_logprobs(model, rows, 1.0))
    assert gap < 1e-4
    return {"largest_difference": gap, "used": packing.is_packed(model)}


def scored_alone(bench: Bench) -> dict[str, Any]:
    """A text's score in a batch and by itself, and how many scores 254 texts have."""
    model = load_scorer(bench.folders / "sft", tiny.tokenizer(), trained=False, device=bench.device)
    rows = [[3 + i % 23, 4 + i % 19, 5 + i % 21, 2] for i in range(254)]
    together = score_rows(model, rows, PAD, 64)
    gap = largest_gap(together[:8], torch.cat([score_rows(model, [row], PAD, 1) for row in rows[:8]]))
    different, texts = len(set(together.tolist())), len({tuple(row) for row in rows})
    assert gap < NOISE * float(together.abs().max())
    return {"largest_difference": gap, "texts": texts, "scores": different}


def fully_sharded(bench: Bench) -> dict[str, Any]:
    """FSDP2 with one process against none."""
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    model: Any = load_causal_lm(bench.folders / "sft", tiny.tokenizer(), trained=True, device=bench.device)
    ids = sequences(bench).input_ids
    with torch.no_grad(), autocast(bench.device):
        plain = model(input_ids=ids).logits.float()
    backend = "nccl" if bench.device.type == "cuda" else "gloo"
    store = distributed.FileStore(str(bench.scratch / "store"), 1)
    distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        mesh = distributed.init_device_mesh(bench.device.type, (1,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        with torch.no_grad(), autocast(bench.device):
            sharded = model(input_ids=ids).logits.float()
    finally:
        distributed.destroy_process_group()
    assert largest_gap(plain, sharded) < NOISE
    return {"largest_difference": largest_gap(plain, sharded)}


def decoding_copy(bench: Bench) -> dict[str, Any]:
    """What the weights that decode say, and what the policy says: bfloat16 against float32 where there is any."""
    from alignment.models.sharing import DecodingCopy

    model: Any = load_causal_lm(bench.folders / "sft", tiny.tokenizer(), trained=True, device=bench.device)
    copy = DecodingCopy().of(model)
    source = torch.Generator(bench.device).manual_seed(0)
    prompts = [[3, 10], [4, 12, 9]] * 8
    said = generate(copy, tiny.tokenizer(), prompts, max_new_tokens=8, generator=source)
    rows = Sequences.join(prompts, [said.ids(i) for i in range(16)], said.finished.tolist(), PAD).to(bench.device)
    with torch.no_grad():
        gap = (response_logprobs(model, rows, 1.0) - said.logprobs)[rows.response_mask].abs()
    assert float(gap.mean()) < NOISE
    return {"mean": float(gap.mean()), "most": float(gap.max()), "type": str(copy.dtype)}


def _moved(model: Any) -> Any:
    """Adapters begin at 0: these have made a step."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.01)
    return model


def largest_gap(a: Tensor, b: Tensor) -> float:
    return float((a.detach().cpu() - b.detach().cpu()).abs().max())


CHECKS = {
    "kl 0, ratio 1": beginning,
    "regrouping": regrouping,
    "against float32": against_float32,
    "left padding": left_padding,
    "shared prompts": shared_prompts,
    "read again": read_again,
    "packing": packed,
    "scores": scored_alone,
    "fsdp2, one process": fully_sharded,
    "decoding copy": decoding_copy,
}
