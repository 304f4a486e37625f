"""A model of ours beside work on data: who answers a self-instruct job's requests, and how long texts are for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig

from alignment.data import chat
from alignment.models.load import context_length, load_causal_lm, load_tokenizer
from alignment.rollout.generation import generate
from alignment.rollout.streams import draws_of
from alignment.shared.config import InstructConfig
from alignment.shared.errors import BadInput
from alignment.shared.records import Prompt
from alignment.shared.sentence import Sentence
from alignment.shared.stages import InstructInputs
from alignment.untrusted.families import positions
from workers.preparation.lengths import TokenMeasure


class LocalPolicy:
    """Replies to requests, one each. The same round draws the same replies."""

    def __init__(self, inputs: InstructInputs, config: InstructConfig) -> None:
        if inputs.model is None:
            raise BadInput(
                Sentence("nobody-answers", "Nobody answers."),
                Sentence("name-model-or-teacher", "Name a model, or an endpoint in teacher."),
            )
        self.name = inputs.model.name
        self._config = config
        self._tokenizer = load_tokenizer(inputs.model)
        self._model = load_causal_lm(inputs.model, self._tokenizer, trained=False)

    def __call__(self, requests: Sequence[str], turn: int) -> list[str]:
        encoded = [chat.prompt_ids(self._tokenizer, Prompt.from_text(request)) for request in requests]
        most = context_length(self._model)
        room = self._config.max_response_length if most is None else most - max(map(len, encoded))
        if room < 1:
            cause = Sentence(
                "request-too-long",
                "A request has %(tokens)s tokens, and the model reads %(most)s.",
                tokens=max(map(len, encoded)),
                most=most,
            )
            raise BadInput(cause, Sentence("lower-shown", "Lower shown, or choose a model with a longer context."))
        generated = generate(
            self._model,
            self._tokenizer,
            encoded,
            max_new_tokens=min(room, self._config.max_response_length),
            generator=torch.Generator(self._model.device).manual_seed(self._config.seed),
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            draws=draws_of(self._config.seed, turn),
        )
        return [chat.decode(self._tokenizer, generated.ids(row)) for row in range(len(encoded))]


def measure_of(folder: Path) -> TokenMeasure:
    """The model's tokenizer and its context, without its weights."""
    tokenizer = load_tokenizer(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    return TokenMeasure(count, positions(config.get_text_config()))
