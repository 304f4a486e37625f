"""From annotations to examples: token ids of a prompt and its K responses, and what the loss asks of them.

Nothing is lost without a word. Each row of the files has a status (`RowStatus`), is counted under it, and is
listed with its lineage in `examples.jsonl` beside the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.screening import screen
from alignment.reward.annotations import Annotation
from alignment.reward.examples import Example, PreparedExamples, RowStatus
from alignment.shared.config import RewardConfig
from alignment.shared.errors import BadInput
from alignment.shared.records import Prompt, Ranking
from alignment.shared.sentence import Sentence
from alignment.shared.stages import RewardInputs

if TYPE_CHECKING:
    pass

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TypeVar

from alignment.data.screening import Screened
from alignment.reward import votes
from alignment.reward.annotations import annotation_of_ranking, annotations_of_answers, annotations_of_verdicts
from alignment.reward.examples import PairTarget, Vote
from alignment.shared.records import (
    Answers,
    Demonstration,
    Record,
    RuleVerdict,
    canonical_json,
    comparisons,
    margin_of,
    read_jsonl,
)
from alignment.shared.records import split_of as side_of

MIN_PROMPT = 16  # tokens of a shortened prompt; a response that leaves less room is refused
EXAMPLES = "examples.jsonl"

R = TypeVar("R", bound=Record)


def read(inputs: RewardInputs, config: RewardConfig) -> tuple[list[Ranking], list[Annotation]]:
    """All annotations in the stage's files, those of rankings first and one for each; StageError names a bad line."""
    rankings = _read(inputs.rankings, Ranking, "ranking")
    rows = [annotation_of_ranking(ranking, config) for ranking in rankings]
    if inputs.verdicts:
        rows += annotations_of_verdicts(_read(inputs.verdicts, RuleVerdict, "verdict"), config)
    if inputs.answers:
        answers = _read(inputs.answers, Answers, "answers")
        rows += [made for given in answers for made in annotations_of_answers(given, config)]
    return rankings, rows


def read_samples(inputs: RewardInputs) -> list[tuple[Prompt, str]]:
    """What a policy wrote, where that is given, without calls of tools; StageError names a bad line."""
    rows = _read(inputs.samples, Demonstration, "demonstration") if inputs.samples else []
    return [(row.prompt, row.response) for row in rows if not row.tool_calls]


def screened(
    rankings: Sequence[Ranking], rows: Sequence[Annotation], tokenizer: PreTrainedTokenizerBase, config: RewardConfig
) -> tuple[list[Ranking], list[Annotation], Screened]:
    """Both as the chat template takes them; what it refuses stays in its place, `prepare` gives it its status."""
    found = screen(tokenizer, [(row.prompt, row.texts) for row in rows], config.template_refusals)
    prompts = [new or row.prompt for new, row in zip(found.prompts, rows, strict=True)]
    read = [replace(row, prompt=prompt) for row, prompt in zip(rows, prompts, strict=True)]
    ranked = [r.model_copy(update={"prompt": p}) for r, p in zip(rankings, prompts, strict=False)]
    return ranked, read, found


def prepare(
    rows: Sequence[Annotation],
    tokenizer: PreTrainedTokenizerBase,
    limit: int,
    config: RewardConfig,
    unread: Collection[int] = (),
) -> PreparedExamples:
    """Annotations as examples, one a task, and the status of each row; `unread`: those that the template refuses."""
    statuses, shortened = [RowStatus.ALL_TIED] * len(rows), [False] * len(rows)
    _set(statuses, unread, RowStatus.TEMPLATE)
    kept: list[tuple[Annotation, list[int], list[int], list[list[int]]]] = []
    for task in _tasks(rows, config, unread):
        first = rows[task[0]]
        before, after = encode_responses(tokenizer, first.prompt, first.texts, limit)
        if not after:
            _set(statuses, task, RowStatus.REFUSED)
        else:
            _set(shortened, task, len(before) < len(chat.prompt_ids(tokenizer, first.prompt)))
            held = side_of(first.prompt, config.heldout_fraction) == "heldout"
            _set(statuses, task, RowStatus.HELDOUT if held else RowStatus.TRAINED)
            if not held:
                kept.append((first, task, before, after))
    orders = [[(rows[i].annotator, _ranks(rows[i], f)) for i in t if rows[i].ranks] for f, t, _, _ in kept]
    known = votes.reliabilities(orders) if config.votes == "reliability" else {}
    train, cyclic = [], 0
    for first, task, before, after in kept:
        mine = [_aligned(rows[i], first) for i in task]
        cyclic += votes.is_cyclic([v.ranks for v in mine if v.ranks])
        shares = _shares(mine, known, config)
        _set(statuses, [i for i, share in zip(task, shares, strict=True) if not share], RowStatus.OUTVOTED)
        if any(shares):
            train.append(_example(mine, shares, before, after, tuple(task), config))
    heldout = [i for i, status in enumerate(statuses) if status is RowStatus.HELDOUT]
    return PreparedExamples(train, heldout, statuses, shortened, cyclic)


def encode_responses(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, responses: Sequence[str], limit: int
) -> tuple[list[int], list[list[int]]]:
    """The prompt's ids, cut on the left to fit `limit`, and those of each response.

    All responses keep the same prompt, so that they differ in nothing else. No responses: one of them
    alone leaves less than MIN_PROMPT tokens for a longer prompt.
    """
    before = chat.prompt_ids(tokenizer, prompt)
    after = [chat.response_ids(tokenizer, text) for text in responses]
    room = limit - max(map(len, after))
    if room < min(len(before), MIN_PROMPT):
        return before, []
    return before[-room:], after


def write_examples(path: Path, rows: Sequence[Annotation], prepared: PreparedExamples) -> None:
    """One line a row: its lineage, its status, whether its prompt was shortened."""
    with path.open("w", encoding="utf-8") as file:
        for row, status, cut in zip(rows, prepared.statuses, prepared.shortened, strict=True):
            line = {"lineage": dict(row.lineage), "prompt": row.prompt.key, "fate": status.value, "shortened": cut}
            file.write(canonical_json(line) + "\n")


def _tasks(rows: Sequence[Annotation], config: RewardConfig, unread: Collection[int]) -> list[list[int]]:
    """Rows that say something, those on the same task together, in the order of their first."""
    found: dict[tuple[str, frozenset[str], str], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        soft = config.ties == "soft" and row.ranks is not None and len(row.texts) > 1
        if number not in unread and (row.orders or soft or row.labels):
            found[row.task].append(number)
    return list(found.values())


def _aligned(row: Annotation, first: Annotation) -> Annotation:
    """`row` with its responses in the order of `first`: people see them in different orders."""
    place = {text: index for index, text in enumerate(row.texts)}
    new = {place[text]: index for index, text in enumerate(first.texts)}
    ranks = tuple(row.ranks[place[text]] for text in first.texts) if row.ranks else None
    return replace(
        row, texts=first.texts, ranks=ranks, labels=tuple(replace(x, index=new[x.index]) for x in row.labels)
    )


def _ranks(row: Annotation, first: Annotation) -> tuple[int, ...]:
    return _aligned(row, first).ranks or ()


def _shares(task: Sequence[Annotation], known: Mapping[str, float], config: RewardConfig) -> list[float]:
    """Each vote's weight; together the mean of the votes' own weights times what the option makes of them."""
    factors = [1.0] * len(task)
    if config.votes == "agreement":
        ranked = [i for i, row in enumerate(task) if row.ranks]
        for i, value in zip(ranked, votes.by_agreement([task[i].ranks or () for i in ranked]), strict=True):
            factors[i] = value
    elif config.votes == "reliability":
        factors = votes.by_reliability([row.annotator for row in task], known)
    return [row.weight * factor / len(task) for row, factor in zip(task, factors, strict=True)]


def _example(
    task: Sequence[Annotation],
    shares: Sequence[float],
    before: list[int],
    after: list[list[int]],
    rows: tuple[int, ...],
    config: RewardConfig,
) -> Example:
    pairs = _by_majority(task, shares, config) if config.votes == "modal" else _by_vote(task, shares, config)
    orders = [Vote(row.ranks, share) for row, share in zip(task, shares, strict=True) if row.ranks and share]
    labels = [
        (label.index, label.target, label.coef * share / len(after))
        for row, share in zip(task, shares, strict=True)
        for label in row.labels
        if label.coef * share
    ]
    return Example(before, after, tuple(pairs), tuple(orders), tuple(labels), sum(shares), rows)


def _by_vote(task: Iterable[Annotation], shares: Iterable[float], config: RewardConfig) -> list[PairTarget]:
    """Every vote's own comparisons; contradictory votes stand side by side."""
    found = []
    for row, share in zip(task, shares, strict=True):
        if not row.ranks or not share:
            continue
        pairs = [(i, j, 1.0, margin_of(row.ranks, i, row.margin)) for i, j in comparisons(row.ranks)]
        if config.ties == "soft":
            k = range(len(row.ranks))
            pairs += [(i, j, 0.5, 0.0) for i in k for j in k if i < j and row.ranks[i] == row.ranks[j]]
        found += [PairTarget(*pair, share / len(pairs)) for pair in pairs]
    return found


def _by_majority(task: Sequence[Annotation], shares: Sequence[float], config: RewardConfig) -> list[PairTarget]:
    """One comparison a pair, decided by count; its margin is the mean over the votes that say the same."""
    ranked = [(row, row.ranks, share) for row, share in zip(task, shares, strict=True) if row.ranks and share]
    if not ranked:
        return []
    decided = votes.majority([ranks for _, ranks, _ in ranked], [share for _, _, share in ranked])
    pairs = []
    for (i, j), side in decided.items():
        if side == 0.5:
            pairs += [(i, j, 0.5, 0.0)] if config.ties == "soft" else []
            continue
        better, worse = (i, j) if side == 1.0 else (j, i)
        alike = [margin_of(ranks, better, row.margin) for row, ranks, _ in ranked if ranks[better] < ranks[worse]]
        pairs.append((better, worse, 1.0, sum(alike) / len(alike)))
    total = sum(share for _, _, share in ranked)
    return [PairTarget(*pair, total / len(pairs)) for pair in pairs]


def _read(path: Path, kind: type[R], name: str) -> list[R]:
    try:
        return list(read_jsonl(path, kind))
    except ValueError as error:
        raise BadInput(
            str(error), Sentence("line-is-record", "Each line must be one %(name)s record.", name=name)
        ) from error


T = TypeVar("T")


def _set(values: list[T], places: Iterable[int], value: T) -> None:
    for place in places:
        values[place] = value


def require_usable(prepared: PreparedExamples, counts: Mapping[str, int], path: Path) -> None:
    if not counts["used"]:
        raise BadInput(
            Sentence(
                "rankings-teach-nothing",
                "%(path)s teaches nothing: %(all_tied)s rankings tie everything, %(refused)s are too long, "
                "%(template_refused)s have turns that the chat template refuses.",
                path=path,
                all_tied=counts["all_tied"],
                refused=counts["refused"],
                template_refused=counts.get("template_refused", 0),
            ),
            Sentence(
                "collect-rankings",
                "Collect rankings that order responses, raise max_length, or set template_refusals to 'merge_turns'.",
            ),
        )
    if not prepared.train:
        raise BadInput(
            Sentence(
                "all-rankings-held-out", "All %(used)s usable rankings belong to held-out prompts.", used=counts["used"]
            ),
            Sentence("rank-more-prompts", "Rank more prompts or lower heldout_fraction."),
        )
