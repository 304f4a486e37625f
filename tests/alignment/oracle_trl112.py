"""Where the numbers in oracle_trl112.json come from: the lines of TRL 1.12.0's PPOTrainer, run as they are.

TRL 1.12.0 is the last release that has PPO and cannot live beside the one that the project needs, so the
numbers are stored. To make them again, in an environment with torch and trl==1.12.0:

    python tests/alignment/oracle_trl112.py > tests/alignment/oracle_trl112.json

Responses fill the whole width: only there do TRL's two positions of the score (on the last token, or one
past it where there is room) and ours (always on the last token) coincide. The losses are masked.
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
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
    found |= {name: float(names[name]) for name in ("pg_loss", "vf_loss", "loss", "vf_clipfrac")}
    json.dump(found, sys.stdout, indent=1)


def between(source: str, first: str, last: str) -> str:
    """The source's lines from the one that begins with `first` to the one that begins with `last`."""
    lines = source.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i, line in enumerate(lines[start:], start) if line.strip().startswith(last))
    return textwrap.dedent("\n".join(lines[start : end + 1]))


if __name__ == "__main__":
    main()
