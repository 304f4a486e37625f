"""What to rank next: the candidate sets from which a ranking would teach the reward model most.

    python -m alignment.reward.acquisition responses.jsonl prompts.jsonl MODEL [MODEL ...] --count 100 --out queue.jsonl

An ensemble knows where it is unsure: where each member is sure but they contradict one another, a
ranking settles something; where all of them waver alike, it would only add noise. BALD (Houlsby et al.
2011, eq. 2) measures just that; sets are compared by what each response that must be read brings of it.
A share of the queue is always drawn at random, from the same pool, as the control arm: without it nobody
knows whether choosing helped. `compare_arms` says whether it did.

MODEL is an ensemble's folder, or several reward models that differ in seed or data. `responses.jsonl` is what
the sample stage leaves; a line of the queue holds a prompt, its responses, its arm and what was expected of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from alignment.reward.report.accuracy import IntervalEstimate, difference
from alignment.shared.errors import StageError
from alignment.shared.records import Prompt, canonical_json, read_jsonl

Arm = Literal["informative", "random"]
RANDOM_SHARE = 0.25  # of the queue: the control arm
EXACT = 5  # responses: 120 rankings
DRAWS = 500
LEAST_RANDOM = 0.05  # the control arm may be made smaller, but never left out


@dataclass(frozen=True)
class CandidateSet:
    """Responses to one prompt that could become a task."""

    prompt: Prompt
    responses: tuple[str, ...]  # K, all different


@dataclass(frozen=True)
class QueueEntry:
    """A set that should be ranked, and why."""

    index: int  # into the candidates
    arm: Arm
    information: float  # nats that its ranking is expected to tell about the members


@dataclass(frozen=True)
class ArmGain:
    """Held-out accuracy that rankings of one arm brought, and how much more than the control's."""

    informative: IntervalEstimate
    random: IntervalEstimate
    advantage: IntervalEstimate  # informative less random, prompt by prompt


def information(scores: Tensor) -> float:
    """Nats that a ranking of one set is expected to tell of which member is right: `(M, K)` scores of the members.

    The mutual information of the ranking, of which each member foretells a distribution (Plackett-Luce), and the
    member: the entropy of the mean, less the mean of the entropies (Houlsby et al. 2011, eq. 2). At most log M.
    Exact up to EXACT responses, then the mean over DRAWS rankings of each member.
    """
    members, size = scores.shape
    if size <= EXACT:
        orders = torch.tensor(list(itertools.permutations(range(size)))).expand(members, -1, -1)
        weights = _likelihoods(scores, orders)[range(members), range(members)].exp()
    else:
        noise = torch.rand(members, DRAWS, size, generator=torch.Generator().manual_seed(0), dtype=scores.dtype)
        orders = (scores[:, None] - (-noise.log()).log()).argsort(dim=2, descending=True)  # Yellott 1977
        weights = torch.full((members, DRAWS), 1 / DRAWS)
    found = _likelihoods(scores, orders)
    own = found[range(members), range(members)]
    surprise = own - found.logsumexp(dim=0) + math.log(members)
    return float((weights * surprise).sum() / members)


def _likelihoods(scores: Tensor, orders: Tensor) -> Tensor:
    """Log-probability that each member gives each member's N rankings: `(M, K)` and `(M, N, K)` to `(M, M, N)`."""
    ordered = scores[:, orders]  # (M, M, N, K), best first
    return (ordered - ordered.flip(3).logcumsumexp(dim=3).flip(3)).sum(dim=3)


def choose(
    candidates: Sequence[CandidateSet],
    scores: Sequence[Tensor],
    count: int,
    seed: int,
    random_share: float = RANDOM_SHARE,
) -> list[QueueEntry]:
    """At most `count` sets, one a prompt, each with its arm; `scores[i]` is `(M, K)` for candidate i.

    The control arm is drawn first, from the whole pool, so that it stands for the pool; the informative arm
    takes the best of what is left. The same input gives the same queue. Raises ValueError for a share of
    controls below LEAST_RANDOM, or fewer than two members.
    """
    if not LEAST_RANDOM <= random_share <= 1:
        raise ValueError(f"random_share must lie from {LEAST_RANDOM} to 1, got {random_share}: the control arm stays")
    if any(rows.shape[0] < 2 for rows in scores):
        raise ValueError("one reward model cannot disagree with itself: give two or more")
    told = [information(rows) for rows in scores]
    pool = list(range(len(candidates)))
    random.Random(seed).shuffle(pool)
    used: set[str] = set()
    control = _one_a_prompt(candidates, pool, round(count * random_share) or 1, used)
    best = sorted(pool, key=lambda i: -told[i] / len(candidates[i].responses))  # equals stay in random order
    informative = _one_a_prompt(candidates, best, count - len(control), used)
    arms: tuple[tuple[Arm, list[int]], ...] = (("informative", informative), ("random", control))
    queue = [QueueEntry(i, arm, told[i]) for arm, chosen in arms for i in chosen]
    random.Random(seed + 1).shuffle(queue)  # nobody can tell an arm by its place in the queue
    return queue


def compare_arms(
    before: Sequence[float], informative: Sequence[float], control: Sequence[float], counts: Sequence[int]
) -> ArmGain:
    """What each arm brought, at the same number of rankings, on the same held-out prompts.

    Entry i of each is the number of prompt i's `counts[i]` comparisons that a model orders rightly: the one
    before, the one trained with the informative arm's rankings too, and the one trained with the control's.
    """
    return ArmGain(
        difference(informative, before, counts),
        difference(control, before, counts),
        difference(informative, control, counts),
    )


def read_candidates(responses: Path, prompts: Path) -> list[CandidateSet]:
    """The sample stage's rows as sets: all different responses of each prompt."""
    asked = list(read_jsonl(prompts, Prompt))
    with responses.open(encoding="utf-8") as file:
        rows = sorted(map(json.loads, file), key=lambda row: int(row["prompt"]))
    found = []
    for index, group in itertools.groupby(rows, key=lambda row: int(row["prompt"])):
        texts = tuple(dict.fromkeys(row["text"] for row in group))
        if len(texts) > 1:
            found.append(CandidateSet(asked[index], texts))
    return found


def score_candidates(folders: Sequence[Path], candidates: Sequence[CandidateSet]) -> list[Tensor]:
    """Every member's scores of every set: a tensor `(M, K)` for each. A folder holds a reward model or an ensemble."""
    from alignment.models.load import load_reward_model, load_tokenizer
    from alignment.reward import stage as reward

    prompts = [c.prompt for c in candidates for _ in c.responses]
    texts = [text for c in candidates for text in c.responses]
    members = []
    for folder in folders:
        tokenizer = load_tokenizer(folder)
        members.append(reward.member_scores(load_reward_model(folder, tokenizer), tokenizer, prompts, texts))
    return list(torch.split(torch.cat(members), [len(c.responses) for c in candidates], dim=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the queue; 0 when it stands, 1 and one sentence when it cannot."""
    parser = argparse.ArgumentParser(prog="python -m alignment.reward.acquisition", description=__doc__)
    parser.add_argument("responses", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--random-share", type=float, default=RANDOM_SHARE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("queue.jsonl"))
    options = parser.parse_args(arguments)
    try:
        candidates = read_candidates(options.responses, options.prompts)
        scores = score_candidates(options.models, candidates)
        queue = choose(candidates, scores, options.count, options.seed, options.random_share)
    except (ValueError, OSError, StageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with options.out.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in _lines(candidates, queue))
    print(f"{options.out}: {len(queue)} sets, {sum(c.arm == 'random' for c in queue)} of them drawn at random")
    return 0


def _lines(candidates: Sequence[CandidateSet], queue: Sequence[QueueEntry]) -> Iterator[str]:
    for choice in queue:
        found = candidates[choice.index]
        yield canonical_json(
            {
                "prompt": found.prompt.model_dump(mode="json", exclude_none=True),
                "responses": list(found.responses),
                "arm": choice.arm,
                "information": choice.information,
            }
        )


def _one_a_prompt(candidates: Sequence[CandidateSet], order: Sequence[int], count: int, used: set[str]) -> list[int]:
    """The first `count` in this order whose prompt is not used yet; marks them as used."""
    found: list[int] = []
    for i in order:
        if len(found) >= count:
            break
        if candidates[i].prompt.key not in used:
            used.add(candidates[i].prompt.key)
            found.append(i)
    return found


if __name__ == "__main__":
    sys.exit(main())
