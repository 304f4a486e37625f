"""Where the numbers in oracle_trl112.json come from: TRL 1.12.0's PPOTrainer.

TRL 1.12.0 is the last release that has PPO and cannot live beside the one that the project needs, so the
numbers are stored. To make them again, in an environment of its own:

    python -m venv oracle && oracle/bin/pip install torch==2.13.0 && oracle/bin/pip install trl==1.12.0
    oracle/bin/python tests/support/alignment/oracle_trl112.py tests/support/alignment/oracle_trl112.json

Two oracles. `lines`: its lines from log-probs to losses, run as they are on made-up numbers. Responses fill the
whole width there: only then do TRL's two positions of the score (on the last token, or one past it where there is
room) and ours (always on the last token) coincide. `whole_run`: the trainer itself, three updates of a Llama of
936 weights, with responses of unequal length. One of its lines is changed there, so that it puts the score on the last
token as we do, and two are added that write down what it has computed. Its critic is a model of its own, as ours
would be without a reward model to start from.
"""

from __future__ import annotations

import inspect
import json
import random
import sys
import tempfile
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

ROWS, WIDTH = 4, 6
SETTINGS = {"kl_coef": 0.05, "gamma": 0.98, "lam": 0.9, "cliprange": 0.2, "cliprange_value": 0.15, "vf_coef": 0.1}


def made_up() -> dict[str, torch.Tensor]:
    """Inputs of a step, from one seed."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "logprobs": normal(ROWS, WIDTH) - 2,
        "ref_logprobs": normal(ROWS, WIDTH) - 2,
        "values": normal(ROWS, WIDTH),
        "scores": normal(ROWS),
        "new_logprobs": normal(ROWS, WIDTH) * 0.3 - 2,
        "new_values": normal(ROWS, WIDTH),
        "lengths": torch.tensor([6, 3, 1, 5]),  # of the responses, in the losses
    }


def main() -> None:
    found = {**lines(), "run": whole_run()}
    Path(sys.argv[1]).write_text(json.dumps(found) + "\n")


def lines() -> dict[str, Any]:
    """TRL's lines on `made_up` numbers."""
    from trl.experimental.ppo import ppo_trainer

    source = inspect.getsource(ppo_trainer.PPOTrainer.train)
    given = made_up()
    full = torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    names: dict[str, Any] = {
        **vars(ppo_trainer),
        "args": SimpleNamespace(**SETTINGS, kl_estimator="k1", whiten_rewards=False),
        **{name: given[name] for name in ("logprobs", "ref_logprobs", "values", "scores")},
        "responses": torch.zeros(ROWS, WIDTH),
        "sequence_lengths": torch.full((ROWS,), WIDTH - 1),
        "sequence_lengths_p1": torch.full((ROWS,), WIDTH),
        "padding_mask": full,
        "padding_mask_p1": full,
    }
    exec(between(source, "logr = ref_logprobs", "returns = advantages + values"), names)
    found = {name: names[name].tolist() for name in ("rewards", "advantages", "returns")}
    exec(between(source, "advantages = masked_whiten", "advantages = masked_whiten"), names)
    found["whitened"] = names["advantages"].tolist()

    padding = torch.arange(WIDTH) >= given["lengths"][:, None]
    everything = slice(None)
    names |= {
        "padding_mask": padding,
        "padding_mask_p1": padding,
        "micro_batch_inds": everything,
        "mb_values": names["values"],
        "mb_return": names["returns"],
        "mb_advantage": names["advantages"],
        "mb_logprobs": names["logprobs"],
        "new_logprobs": given["new_logprobs"],
        "vpred": given["new_values"],
    }
    exec(between(source, "vpredclipped = torch.clamp(", "loss = pg_loss + args.vf_coef"), names)
    return found | {name: float(names[name]) for name in ("pg_loss", "vf_loss", "loss", "vf_clipfrac")}


VOCABULARY, PAD, EOS, RESPONSE = 16, 1, 2, 8
RUN = {
    "learning_rate": 3e-3,
    "batch_size": 8,
    "inner_epochs": 3,
    "updates": 3,
    "temperature": 0.8,
    "kl_coef": 0.1,
    "gamma": 0.99,
    "gae_lambda": 0.9,
    "vf_coef": 0.5,
    "missing_eos_penalty": 0.7,
}


def architecture() -> Any:
    """Of all four models."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=3,
        num_labels=1,
    )


def fill(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights that do not depend on a library's generator: normal, those of a vector round 1."""
    rng = random.Random(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            middle = 1.0 if weight.dim() == 1 else 0.0
            weight.copy_(torch.tensor([rng.gauss(middle, 0.3) for _ in range(weight.numel())]).view(weight.shape))
    return model.eval()


def cast() -> dict[str, torch.nn.Module]:
    """Policy, reference, reward model and critic as they are before the first update."""
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    seeds = {"policy": 1, "reference": 1, "reward_model": 2, "critic": 3}
    kinds = {"policy": LlamaForCausalLM, "reference": LlamaForCausalLM}
    made = {name: kinds.get(name, LlamaForSequenceClassification)(architecture()) for name in seeds}
    for name in kinds:  # with a bias that keeps it from sampling padding: TRL would end the response there
        made[name].lm_head = torch.nn.Linear(made[name].config.hidden_size, VOCABULARY)
    filled = {name: fill(model, seeds[name]) for name, model in made.items()}
    for name in kinds:
        with torch.no_grad():
            filled[name].lm_head.bias.zero_()[PAD] = -30.0
    return filled


def whole_run() -> dict[str, Any]:
    """Three updates of TRL's trainer: what it computed on the way, and the weights at the end."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl.experimental.ppo import PPOConfig, ppo_trainer

    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCABULARY)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="t1", eos_token="t2", unk_token="t0")
    tokenizer.padding_side = "left"
    rng, models_of = random.Random(4), cast()
    prompts = [[rng.randrange(3, VOCABULARY) for _ in range(rng.randint(2, 6))] for _ in range(24)]
    arguments = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=RUN["batch_size"],
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        num_ppo_epochs=RUN["inner_epochs"],
        total_episodes=RUN["batch_size"] * RUN["updates"],
        learning_rate=RUN["learning_rate"],
        adam_epsilon=1e-5,
        optim="adamw_torch",
        response_length=RESPONSE,
        stop_token="eos",
        missing_eos_penalty=RUN["missing_eos_penalty"],
        temperature=RUN["temperature"],
        kl_coef=RUN["kl_coef"],
        gamma=RUN["gamma"],
        lam=RUN["gae_lambda"],
        vf_coef=RUN["vf_coef"],
        whiten_rewards=False,
        local_rollout_forward_batch_size=RUN["batch_size"],
        num_sample_generations=0,
        save_strategy="no",
        report_to=[],
        bf16=False,
        use_cpu=True,
        disable_tqdm=True,
        gradient_checkpointing=False,
        seed=5,
    )
    rows = Dataset.from_dict({"input_ids": prompts})
    trainer = ppo_trainer.PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=models_of["policy"],
        ref_model=models_of["reference"],
        reward_model=models_of["reward_model"],
        value_model=models_of["critic"],
        train_dataset=rows,
        eval_dataset=rows.select(range(8)),
    )
    updates: list[dict[str, Any]] = []
    names = {**vars(ppo_trainer), "UPDATES": updates}
    exec(watched(inspect.getsource(ppo_trainer.PPOTrainer.train)), names)
    names["train"](trainer)
    ended = {name: {n: w.flatten().tolist() for n, w in models_of[name].named_parameters()} for name in WATCHED}
    return {"updates": updates, **ended}


WATCHED = ("policy", "critic")
KEPT = (
    "queries",
    "responses",
    "logprobs",
    "ref_logprobs",
    "values",
    "scores",
    "kl",
    "rewards",
    "returns",
    "advantages",
)


def watched(source: str) -> str:
    """TRL's `train` with the score on the last token, and with what it computes written down in UPDATES."""
    kept = ", ".join(f"{name!r}: {name}.tolist()" for name in KEPT)
    changes = {
        "sequence_lengths_p1 = sequence_lengths + 1": "sequence_lengths_p1 = sequence_lengths",
        "advantages = torch.masked_fill(advantages, padding_mask, 0)": None,
        "accelerator.backward(loss)": None,
    }
    added = {
        "advantages = torch.masked_fill(advantages, padding_mask, 0)": f"UPDATES.append({{{kept}, 'losses': []}})",
        "accelerator.backward(loss)": "UPDATES[-1]['losses'].append([pg_loss.item(), vf_loss.item()])",
    }
    found = []
    for line in textwrap.dedent(source).splitlines():
        bare, indent = line.strip(), line[: len(line) - len(line.lstrip())]
        found.append(indent + (changes[bare] or bare) if bare in changes else line)
        if bare in added:
            found.append(indent + added[bare])
    assert sum(1 for line in source.splitlines() if line.strip() in changes) == len(changes), "another TRL"
    return "\n".join(found)


def between(source: str, first: str, last: str) -> str:
    """The source's lines from the one that begins with `first` to the one that begins with `last`."""
    lines = source.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i, line in enumerate(lines[start:], start) if line.strip().startswith(last))
    return textwrap.dedent("\n".join(lines[start : end + 1]))


if __name__ == "__main__":
    main()
