"""TRL 1.12.0's PPOTrainer on the toy world, as `bench_learning` asks for it.

Run by bench_learning with the Python of an environment that holds TRL 1.12.0; it imports nothing of this project.
The argument is JSON: the folders `sft` and `reward`, the file `prompts` (a JSON list of token ids), the folder `out`
that gets the policy after every `every` updates, the reward model's `mean`, and `settings` of the trainer.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer


def main() -> None:
    asked = json.loads(sys.argv[1])
    seed, out = asked["settings"]["seed"], Path(asked["out"])
    random.seed(seed)
    np.random.seed(seed)  # the trainer shuffles its mini-batches by it
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(asked["sft"])
    tokenizer.padding_side = "left"
    policy, reference = (AutoModelForCausalLM.from_pretrained(asked["sft"]) for _ in range(2))
    judge, critic = (scorer(asked["reward"], asked["mean"]) for _ in range(2))
    prompts = Dataset.from_dict({"input_ids": json.loads(Path(asked["prompts"]).read_text())})
    settings = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        stop_token="eos",
        num_sample_generations=0,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        **asked["settings"],
    )
    trainer = PPOTrainer(
        args=settings,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=judge,
        value_model=critic,
        train_dataset=prompts,
        eval_dataset=prompts.select(range(settings.per_device_eval_batch_size)),
    )

    def log(metrics: dict[str, float], *_: Any, **__: Any) -> None:
        """Called once, at the end of each update."""
        update = trainer.state.global_step
        print(json.dumps({"update": update, **metrics}), flush=True)
        if update % asked["every"] == 0 or update == trainer.state.max_steps:
            trainer.policy_model.save_pretrained(out / str(update))
            tokenizer.save_pretrained(out / str(update))

    trainer.log = log
    trainer.train()


def scorer(folder: str, mean: float) -> torch.nn.Module:
    """The reward model's weights; its scores less their stored mean, which here is a bias."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.score.bias = torch.nn.Parameter(torch.tensor([-mean]), requires_grad=False)
    return model


if __name__ == "__main__":
    main()
