"""TRL 1.12.0's PPOTrainer, the last one, on the work that `bench_ppo` gives to both sides.

Run by bench_ppo with the Python of an environment that holds TRL 1.12.0; it imports nothing of this project.
What both sides share is here too: the shape, the prompts, the stop, and the border between two updates.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch

PAD, EOS, FIRST_WORD = 1, 2, 4
MARK = "bench "  # begins a line that bench_ppo reads; the trainer prints lines of its own


@dataclass(frozen=True)
class Work:
    """The models' shape and one update's episodes."""

    layers: int = 4
    hidden: int = 256
    vocab: int = 8192
    batch: int = 32
    micro: int = 8  # ours; TRL gets the whole batch at once, which is its fastest
    prompt: int = 64  # the longest; the shortest is a quarter of it
    response: int = 64
    epochs: int = 4
    minibatches: int = 1
    eos_every: int = 24  # tokens between two stops, on average
    engine: str = "generate"  # ours

    def prompts(self) -> list[list[int]]:
        """512 prompts of random words."""
        generator = torch.Generator().manual_seed(1)
        lengths = torch.randint(self.prompt // 4, self.prompt + 1, (512,), generator=generator).tolist()
        return [torch.randint(FIRST_WORD, self.vocab, (n,), generator=generator).tolist() for n in lengths]


def architecture(work: Work) -> Any:
    """Of all models, heads of 32 or, in larger models, 128 dimensions."""
    from transformers import LlamaConfig

    heads = work.hidden // (32 if work.hidden <= 512 else 128)
    return LlamaConfig(
        vocab_size=work.vocab,
        hidden_size=work.hidden,
        intermediate_size=work.hidden * 4,
        num_hidden_layers=work.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2048,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=3,
        num_labels=1,
    )


def words(work: Work) -> Any:
    """A tokenizer of words t0, t1, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({f"t{i}": i for i in range(work.vocab)}, unk_token="t0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=f"t{PAD}", eos_token=f"t{EOS}", unk_token="t0", padding_side="left"
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


def let_stop(policy: torch.nn.Module, work: Work) -> None:
    """A constant on the stop's logit, as a frozen bias of the head: an untrained model stops now and then."""
    head: Any = policy.get_output_embeddings()  # type: ignore[operator]
    bias = torch.zeros(work.vocab, device=head.weight.device, dtype=head.weight.dtype)
    bias[EOS] = math.log(work.vocab / work.eos_every)
    head.bias = torch.nn.Parameter(bias, requires_grad=False)


class Border:
    """Where an update ends: says what it took, and waits until bench_ppo lets the next one begin."""

    def __init__(self) -> None:
        self.imported = resident("VmRSS")
        self._since = clocks()

    def cross(self, **more: Any) -> None:
        """The time since the last crossing, this process's memory, and `more`, as a line of JSON."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent = {name: now - self._since[name] for name, now in clocks().items()}
        held = {"resident_mb": resident("VmRSS"), "peak_mb": resident("VmHWM"), "imports_mb": self.imported}
        if torch.cuda.is_available():
            held["peak_mb"], held["imports_mb"] = torch.cuda.max_memory_allocated() / 2**20, 0.0
        print(MARK + json.dumps(spent | held | more), flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # enough was measured
        self._since = clocks()


def clocks() -> dict[str, float]:
    """Of the wall and of this process's CPU: the second is not moved by what else the machine does."""
    return {"wall": time.perf_counter(), "cpu": time.process_time()}


def resident(name: str) -> float:
    """MB of this process's memory (Linux). Not getrusage's peak, which begins at that of who started the process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    """Train without end; bench_ppo ends it."""
    from datasets import Dataset
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    work, border = Work(**json.loads(sys.argv[1])), Border()
    torch.manual_seed(0)
    policy, reference = (LlamaForCausalLM(architecture(work)) for _ in range(2))
    reference.load_state_dict(policy.state_dict())
    for model in (policy, reference):
        let_stop(model, work)
    reward_model, critic = (LlamaForSequenceClassification(architecture(work)) for _ in range(2))
    prompts = Dataset.from_dict({"input_ids": work.prompts()})
    on_gpu = torch.cuda.is_available()
    settings = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=work.batch // work.minibatches,
        gradient_accumulation_steps=1,
        num_mini_batches=work.minibatches,
        num_ppo_epochs=work.epochs,
        total_episodes=work.batch * 10_000,
        response_length=work.response,
        stop_token="eos",
        missing_eos_penalty=1.0,
        temperature=1.0,
        learning_rate=1e-6,
        local_rollout_forward_batch_size=work.batch,
        num_sample_generations=0,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
    )
    trainer = PPOTrainer(
        args=settings,
        processing_class=words(work),
        model=policy,
        ref_model=reference,
        reward_model=reward_model,
        value_model=critic,
        train_dataset=prompts,
        eval_dataset=prompts.select(range(8)),
    )
    trainer.log = lambda *_, **__: border.cross()  # called once, at the end of each update
    trainer.train()


if __name__ == "__main__":
    main()
