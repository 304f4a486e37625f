"""What models must be to each other, and scores, whoever samples against a reward model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from alignment.models.load import load_tokenizer
from alignment.shared.errors import BadInput, Diverged
from alignment.shared.sentence import Sentence
from alignment.shared.stages import PPOInputs


def require_same_tokens(policy: PreTrainedTokenizerBase, inputs: PPOInputs) -> None:
    """The reward model reads the policy's token ids, so each id must mean the same to both: else BAD_INPUT."""
    judge = load_tokenizer(inputs.reward_model)
    if policy.get_vocab() != judge.get_vocab() or policy.eos_token_id != judge.eos_token_id:
        raise BadInput(
            Sentence(
                "tokenizers-differ",
                "The reward model in %(reward_model)s has another tokenizer (%(judge)s tokens) than the "
                "policy in %(model)s (%(policy)s tokens).",
                reward_model=inputs.reward_model,
                judge=len(judge),
                model=inputs.model,
                policy=len(policy),
            ),
            Sentence("same-base", "Train the reward model from the same base model as the policy."),
        )


def require_numbers(scores: Tensor, rows: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase) -> None:
    """Diverged for a score `(B,)` that is no number; names the text of its row."""
    for value, ids in zip(scores.tolist(), rows, strict=True):
        if not math.isfinite(value):
            raise Diverged(
                Sentence(
                    "score-not-finite",
                    "The reward model scores %(ids)s as %(value)s.",
                    ids=f"{tokenizer.decode(ids)[:120]!r}",
                    value=value,
                ),
                Sentence("reward-lower-rate", "Train the reward model again with a lower learning rate."),
            )
