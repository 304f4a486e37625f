"""The prompts of a run: read, checked for room, split, and handed out in endless batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.screening import screen
from alignment.models.ensemble import Ensemble
from alignment.models.forward import Model
from alignment.models.load import context_length
from alignment.ppo.roles import Roles
from alignment.rollout.generation import read_prompts
from alignment.shared.config import BestOfNConfig, PPOConfig, RLOOConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Reporter
from alignment.shared.records import Prompt, split_of
from alignment.shared.sentence import Sentence, counted


@dataclass(frozen=True)
class PromptSet:
    """Prompts that fit, as records and as token ids, split by their text."""

    train: list[list[int]]
    heldout: list[list[int]]
    heldout_prompts: list[Prompt]  # the records behind `heldout`
    counts: dict[str, int]


class EndlessBatches(Iterator[list[list[int]]]):
    """Batches of exactly `size` prompts, in a new random order at each pass, every prompt equally often."""

    def __init__(self, prompts: Sequence[list[int]], size: int, generator: torch.Generator) -> None:
        self.prompts, self.size, self.generator = prompts, size, generator
        self.waiting: list[int] = []  # drawn, but not yet handed out

    def __next__(self) -> list[list[int]]:
        while len(self.waiting) < self.size:
            self.waiting += torch.randperm(len(self.prompts), generator=self.generator).tolist()
        chosen, self.waiting = self.waiting[: self.size], self.waiting[self.size :]
        return [self.prompts[i] for i in chosen]


def read_prompt_set(roles: Roles, config: PPOConfig | RLOOConfig, path: Path, reporter: Reporter) -> PromptSet:
    """The file's prompts, each once, those that fit the models, split by text.

    Prompts are left out, counted and noted when prompt and longest response together exceed max_length
    or a model's context. Raises BadInput when none is left to train on.
    """
    unique = {prompt.key: prompt for prompt in read_prompts(path)}
    room = room_for(config, roles.policy, roles.reward_model)
    screened = screen(roles.tokenizer, [(prompt, ()) for prompt in unique.values()], config.template_refusals)
    screened.note(Sentence("screened-prompts", "prompts"), reporter)
    readable = [prompt for prompt in screened.prompts if prompt]
    fitting = fit(roles.tokenizer, readable, room)
    sides: dict[str, list[tuple[Prompt, list[int]]]] = {"train": [], "heldout": []}
    for prompt, ids in fitting:
        sides[split_of(prompt, config.heldout_fraction)].append((prompt, ids))
    counts = {
        "prompts": len(unique),
        "too_long": len(readable) - len(fitting),
        **screened.counts(),
        "train": len(sides["train"]),
        "heldout": len(sides["heldout"]),
    }
    _require_prompts(counts, room, config)
    _note_prompts(counts, room, config, reporter)
    heldout = (sides["heldout"] or sides["train"][: config.batch_size])[: config.evaluate_replies]
    return PromptSet([ids for _, ids in sides["train"]], [ids for _, ids in heldout], [p for p, _ in heldout], counts)


def room_for(config: PPOConfig | RLOOConfig | BestOfNConfig, *used: Model | Ensemble) -> int:
    """Tokens that are left for a prompt beside the longest response."""
    limits = [limit for model in used if (limit := context_length(model))]
    return min([config.max_length, *limits]) - config.max_response_length


def fit(tokenizer: PreTrainedTokenizerBase, prompts: Iterable[Prompt], room: int) -> list[tuple[Prompt, list[int]]]:
    """Those of at most `room` tokens, with their ids."""
    encoded = ((prompt, chat.prompt_ids(tokenizer, prompt)) for prompt in prompts)
    return [(prompt, ids) for prompt, ids in encoded if len(ids) <= room]


def _require_prompts(counts: dict[str, int], room: int, config: PPOConfig | RLOOConfig) -> None:
    refused = counts.get("template_refused", 0)
    if counts["prompts"] == refused:
        told = Sentence(
            "template-refuses-all-prompts",
            "The model's chat template refuses all %(refused)s prompts.",
            refused=refused,
        )
        raise BadInput(told, chat.REFUSED_HOW)
    if counts["prompts"] == counts["too_long"] + refused:
        raise BadInput(
            Sentence(
                "all-prompts-too-long",
                "All %(too_long)s prompts are longer than the %(room)s tokens that max_response_length "
                "(%(max_response_length)s) leaves for them.",
                too_long=counts["too_long"],
                room=max(room, 0),
                max_response_length=config.max_response_length,
            ),
            Sentence(
                "shorten-prompts",
                "Shorten the prompts, lower max_response_length, or raise max_length if the model's context allows it.",
            ),
        )
    if not counts["train"]:
        raise BadInput(
            Sentence(
                "all-prompts-held-out",
                "All %(heldout)s prompts are held out: none is left to train on.",
                heldout=counts["heldout"],
            ),
            Sentence("more-prompts", "Give more prompts or lower heldout_fraction."),
        )


def _note_prompts(counts: dict[str, int], room: int, config: PPOConfig | RLOOConfig, reporter: Reporter) -> None:
    if counts["too_long"]:
        left_out = counted(
            "prompts-left-out",
            "%(n)s prompt of more than %(room)s tokens was left out.",
            "%(n)s prompts of more than %(room)s tokens were left out.",
            n=counts["too_long"],
            room=room,
        )
        reporter.note(left_out, level="warning")
    if not counts["heldout"]:
        english = "No prompt is held out: policies are compared on train prompts."
        reporter.note(Sentence("compared-on-train-prompts", english), level="warning")
    if counts["train"] < config.batch_size:
        repeated = counted(
            "batch-by-repeating",
            "%(n)s train prompt fills a batch of %(size)s by repeating.",
            "%(n)s train prompts fill a batch of %(size)s by repeating.",
            n=counts["train"],
            size=config.batch_size,
        )
        reporter.note(repeated)
