"""A base model from plain text: the toy world's stand-in for a pretrained model.

A tokenizer (byte-level BPE, one token a Chinese character) and a Llama of about a million parameters,
both from scratch, saved as an ordinary model folder.

    python -m alignment toy DIR --seed 0
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast, set_seed

from alignment.data import chat
from alignment.data.batch import Sequences
from alignment.models.device import pick_device
from alignment.models.forward import response_logprobs
from alignment.models.load import PAD, save_model
from alignment.models.micro_batches import Loss, accumulate
from alignment.shared.config import BaseModelConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Meter, Reporter, StageResult
from alignment.shared.policy.ppo_config import CPU_LANES
from alignment.shared.records import Demonstration

EOS = "<|end|>"
POOL = 24  # batches that are sorted by length together: little padding, still a random order


def train_base_model(
    corpus: Sequence[str | Demonstration], config: BaseModelConfig, out_dir: Path, reporter: Reporter
) -> StageResult:
    """Train tokenizer and model on `corpus` (sentences, and chats in the project's template) into `out_dir`."""
    if not corpus:
        raise BadInput("The corpus is empty.", "Give at least one text.")
    set_seed(config.seed)
    tokenizer = train_tokenizer(corpus, config)
    texts = [ids[: config.max_length] for ids in _encoded(tokenizer, corpus) if len(ids) > 1]  # one token predicts none
    model = _new_model(tokenizer, config)
    losses = _fit(model, texts, config, Meter(reporter, "pretrain", config.steps))
    out_dir.mkdir(parents=True, exist_ok=True)
    save_model(model, tokenizer, out_dir)
    tail = losses[-50:]
    metrics = {"loss": sum(tail) / len(tail), "parameters": model.num_parameters(), "vocabulary": len(tokenizer)}
    return StageResult("pretrain", metrics)


def train_tokenizer(corpus: Sequence[str | Demonstration], config: BaseModelConfig) -> PreTrainedTokenizerBase:
    """A lossless BPE tokenizer whose stop and padding tokens differ, with the project's chat template."""
    core = Tokenizer(BPE())
    han = pre_tokenizers.Split(Regex(r"\p{Han}"), behavior="isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([han, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[PAD, EOS, *chat.ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_plain(corpus), trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=list(chat.ROLES),
        model_max_length=config.max_length,
        clean_up_tokenization_spaces=False,
    )
    chat.install_template(tokenizer)
    return tokenizer


def _plain(corpus: Sequence[str | Demonstration]) -> Iterator[str]:
    for text in corpus:
        if isinstance(text, str):
            yield text
        else:
            yield from (message.content for message in text.prompt.messages)
            yield text.response


def _encoded(tokenizer: PreTrainedTokenizerBase, corpus: Sequence[str | Demonstration]) -> Iterator[list[int]]:
    """A sentence with its stop, or a whole chat: a base model learns every token of both.

    Prompts and sentences come again and again: each is encoded once.
    """
    asked = cache(partial(chat.prompt_ids, tokenizer))
    said = chat.many_response_ids(tokenizer, [text if isinstance(text, str) else text.response for text in corpus])
    for text in corpus:
        yield said[text] if isinstance(text, str) else asked(text.prompt) + said[text.response]


def _new_model(tokenizer: PreTrainedTokenizerBase, config: BaseModelConfig) -> LlamaForCausalLM:
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=3 * config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(shape)
    torch.nn.Module.to(model, pick_device())
    return model


def _fit(model: LlamaForCausalLM, texts: list[list[int]], config: BaseModelConfig, meter: Meter) -> list[float]:
    """Plain next-token training: AdamW, one cycle of the rate, gradients cut at norm 1. Returns the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.05, div_factor=10, final_div_factor=1
    )
    losses = []
    model.train()
    batches = _batches(texts, config)
    for _ in range(config.steps):
        losses.append(_learn(model, _sequences(next(batches), model)))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        meter.step({"loss": losses[-1]})
    return losses


def _learn(model: LlamaForCausalLM, batch: Sequences) -> float:
    """Add the gradient of the mean loss of all tokens but the first of each text; returns that mean."""
    tokens = batch.response_lengths.sum()

    def losses(rows: Tensor) -> list[Loss]:
        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            share = -response_logprobs(model, batch.select(rows), temperature=1.0).sum() / tokens
            return share, {"loss": share}

        return [loss]

    return accumulate([model], batch.lengths, -(-len(batch) // CPU_LANES), losses)["loss"]


def _batches(texts: list[list[int]], config: BaseModelConfig) -> Iterator[list[list[int]]]:
    """Batches of about equal lengths, in random order, for ever."""
    rng = random.Random(config.seed)
    size = config.batch_size
    while True:
        order = list(texts)
        rng.shuffle(order)
        for start in range(0, len(order), size * POOL):
            pool = sorted(order[start : start + size * POOL], key=len)
            batches = [pool[i : i + size] for i in range(0, len(pool), size)]
            rng.shuffle(batches)
            yield from batches


def _sequences(batch: list[list[int]], model: LlamaForCausalLM) -> Sequences:
    """Each text as a response to its own first token."""
    firsts, rests = [text[:1] for text in batch], [text[1:] for text in batch]
    return Sequences.join(firsts, rests, [True] * len(batch), int(model.config.pad_token_id or 0)).to(model.device)
