"""PPO-ptx: beside each step on rollouts, the policy learns from demonstrations (Ouyang et al. 2022, eq. 2).

Their gradient is accumulated into the same step, times `ptx_coef`, so that the policy does not forget what
the reward model does not ask for. The loss is the mean over response tokens, as in SFT; InstructGPT took plain
pretraining text, which can be given as demonstrations with an empty-looking prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.batch import Sequences, by_length
from alignment.data.screening import Rule, screen
from alignment.models.forward import Model, response_logprobs
from alignment.ppo.prompt_set import EndlessBatches
from alignment.shared.config import PPOConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Reporter
from alignment.shared.records import Demonstration, read_jsonl
from alignment.shared.sentence import Sentence, counted
from alignment.training.team import ALONE, Team

Row = tuple[list[int], list[int]]  # prompt and response, the stop token included


@dataclass(frozen=True)
class PretrainingMix:
    """Demonstrations in an endless order."""

    policy: Model
    rows: list[Row]
    order: EndlessBatches  # of [row number]
    pad_id: int
    micro_batch_size: int
    team: Team = ALONE

    def accumulate(self, coef: float) -> float:
        """Add the gradient of `coef` times the loss on the next batch; return the loss, its mean over all tokens."""
        batch = [self.rows[number] for (number,) in next(self.order)]
        tokens = sum(len(response) for _, response in batch)
        device, total = next(self.policy.parameters()).device, 0.0
        lengths = torch.tensor([len(p) + len(r) for p, r in batch])
        share = self.team.share(lengths)
        for group in by_length(lengths[share.rows], self.micro_batch_size):
            part = [batch[i] for i in share.rows[group].tolist()]
            prompts, responses = [p for p, _ in part], [r for _, r in part]
            sequences = Sequences.join(prompts, responses, [True] * len(part), self.pad_id).to(device)
            logprobs = response_logprobs(self.policy, sequences, temperature=1.0)
            loss = -torch.where(share.counts[group, None].to(device), logprobs, 0.0).sum() / tokens
            (coef * loss).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return self.team.sum_metrics({"ptx_loss": total})["ptx_loss"]


def read_rows(
    tokenizer: PreTrainedTokenizerBase, path: Path, limit: int, reporter: Reporter, rule: Rule = "leave_out"
) -> list[Row]:
    """The file's demonstrations as token ids, those that fit into `limit` tokens; the others are noted.

    Raises BadInput for a line that is no demonstration, or when none fits.
    """
    try:
        found = list(read_jsonl(path, Demonstration))
    except (ValueError, OSError) as error:
        raise BadInput(
            str(error), Sentence("line-is-demonstration", "Each line must be one demonstration record.")
        ) from error
    screened = screen(tokenizer, [(d.prompt, [d.reply]) for d in found], rule)
    screened.note(Sentence("screened-pretraining", "pretraining rows"), reporter)
    found = [d.model_copy(update={"prompt": p}) for d, p in zip(found, screened.prompts, strict=True) if p]
    rows = [(chat.prompt_ids(tokenizer, d.prompt), chat.reply_ids(tokenizer, d.prompt, d.reply)) for d in found]
    fitting = [row for row in rows if len(row[0]) + len(row[1]) <= limit]
    if not fitting:
        raise BadInput(
            Sentence(
                "pretraining-too-long",
                "pretraining: none of %(rows)s rows fits into %(limit)s tokens.",
                rows=len(rows),
                limit=limit,
            ),
            Sentence("raise-max-length", "Raise max_length."),
        )
    if len(fitting) < len(rows):
        left_out = counted(
            "pretraining-left-out",
            "pretraining: %(n)s row of more than %(limit)s tokens was left out.",
            "pretraining: %(n)s rows of more than %(limit)s tokens were left out.",
            n=len(rows) - len(fitting),
            limit=limit,
        )
        reporter.note(left_out, level="warning")
    return fitting


def examples_a_step(config: PPOConfig) -> int:
    """How many demonstrations one optimizer step takes: `ptx_examples` for each of its episodes."""
    return config.ptx_examples * config.batch_size // config.mini_batches
