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
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast, set_seed

from alignment.data import chat
from alignment.models.device import autocast, pick_device
from alignment.models.load import PAD, save_model
from alignment.shared.config import BaseModelConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Meter, Reporter, StageResult
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
    texts = [ids[: config.max_length] for ids in _encoded(tokenizer, corpus)]
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
        ids, labels = _collate(next(batches), model)
        with autocast(ids.device):
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        meter.step({"loss": losses[-1]})
    return losses


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


def _collate(batch: list[list[int]], model: LlamaForCausalLM) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels `(B, T)`, padded on the right; causal attention never looks at that padding."""
    width = max(map(len, batch))
    pad = int(model.config.pad_token_id or 0)
    ids = torch.tensor([text + [pad] * (width - len(text)) for text in batch], device=model.device)
    labels = torch.tensor([text + [-100] * (width - len(text)) for text in batch], device=model.device)
    return ids, labels
