"""The base model of the toy world: an ordinary model folder, trained from nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from alignment.models.load import context_length
from alignment.shared.config import BaseModelConfig
from alignment.shared.errors import BadInput
from alignment.toyworld.base_model import train_base_model, train_tokenizer
from alignment.toyworld.world import World

TINY = BaseModelConfig(
    hidden_size=32, layers=1, heads=2, vocab_size=400, batch_size=16, steps=30, max_length=64, learning_rate=1e-2
)


def test_the_tokenizer_loses_nothing_and_splits_chinese_by_character(world: World) -> None:
    tokenizer = train_tokenizer(world.corpus()[:2000], BaseModelConfig())
    for text in ("Milo is red.", "小白住在森林。", "naïve 🙂\n", "龘"):  # the last was never seen
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("我不知道。")["input_ids"]) == 5
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer("<|assistant|>")["input_ids"] == [tokenizer.convert_tokens_to_ids("<|assistant|>")]


def test_loss_falls_and_the_folder_is_an_ordinary_model(
    world: World, tmp_path: Path, recorder: Callable[..., Any]
) -> None:
    reported = recorder()
    result = train_base_model(world.corpus()[:1000], TINY, tmp_path, reported)
    losses = [step.metrics["loss"] for step in reported.steps]
    assert len(losses) == 30
    assert losses[-1] < 0.85 * losses[0]
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.num_parameters() == result.metrics["parameters"]
    assert context_length(model) == 64


def test_an_empty_corpus_is_refused(tmp_path: Path, recorder: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match="empty"):
        train_base_model([], TINY, tmp_path, recorder())
