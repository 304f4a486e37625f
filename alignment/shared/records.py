"""The records that the two halves of the loop exchange: prompts, demonstrations, rankings, candidates.

Each is frozen, validated at construction, and has one canonical JSON line, so that a file of
records has one content hash wherever it is written.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from alignment.shared.sentence import Sentence
from alignment.shared.turns.base import Record as Record
from alignment.shared.turns.base import canonical_json as canonical_json
from alignment.shared.turns.base import is_unset
from alignment.shared.turns.base import sha256_text as sha256_text
from alignment.shared.turns.base import storable as storable
from alignment.shared.turns.messages import Message as Message
from alignment.shared.turns.messages import paired
from alignment.shared.turns.tools import ToolCall as ToolCall
from alignment.shared.turns.tools import ToolDefinition
from alignment.shared.validation import sentences

MAX_RESPONSES = 64  # a ranking of more is a fault in the file, not a ranking

Criterion = Literal["helpful", "honest", "harmless"]
Split = Literal["train", "heldout"]


class Prompt(Record):
    """The messages before the response; the last one is the user's, or what a tool gave back."""

    messages: tuple[Message, ...] = Field(min_length=1)
    criterion: Criterion | None = Field(default=None, description="What a good response mainly needs here.")
    language: str | None = Field(default=None, description="BCP 47 tag, for example en or zh.")
    tools: tuple[ToolDefinition, ...] | None = Field(
        default=None, min_length=1, exclude_if=is_unset, description="What the assistant may call: JSON, one text each."
    )

    @model_validator(mode="after")
    def _tools_answer_calls(self) -> Self:
        for fault in paired(self.messages).faults[:1]:
            raise ValueError(Sentence("turn-fault", "turn %(turn)s: %(why)s", turn=fault.turn + 1, why=fault.why))
        return self

    @model_validator(mode="after")
    def _ends_with_user(self) -> Self:
        if self.messages[-1].role == "tool":
            return self
        if self.messages[-1].role != "user":
            raise ValueError(
                Sentence(
                    "last-not-user",
                    "the last message must be the user's, it is the %(role)s's",
                    role=self.messages[-1].role,
                )
            )
        if not self.messages[-1].content.strip():
            raise ValueError(Sentence("last-empty", "the last message is empty; a prompt needs a question or request"))
        return self

    @classmethod
    def from_text(cls, text: str, **fields: Any) -> Prompt:
        return cls(messages=(Message(role="user", content=text),), **fields)

    @property
    def text(self) -> str:
        """The messages as one readable text (for logs and reports, not for a model)."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n\n".join(f"{m.role}: {m.text}" for m in self.messages)

    @property
    def request(self) -> str:
        """What the user asked last."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), self.messages[-1].content)

    @property
    def uses_tools(self) -> bool:
        return self.tools is not None or any(message.uses_tools for message in self.messages)

    @property
    def key(self) -> str:
        """The hash of the messages, and of the tools where there are any: equal for two rows that ask the same."""
        return sha256_text(
            canonical_json([*(m.identity for m in self.messages), *([self.tools] if self.tools else [])])
        )


class Demonstration(Record):
    """A prompt and a response worth imitating (stage 1); the response may be, or end in, calls of tools."""

    prompt: Prompt
    response: str
    tool_calls: tuple[ToolCall, ...] | None = Field(default=None, min_length=1, exclude_if=is_unset)
    not_learnt: tuple[int, ...] = Field(
        default=(),
        exclude_if=is_unset,
        description="Places of the assistant's messages in the prompt that are never learnt (weight 0).",
    )
    lineage: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.response and not self.tool_calls:
            raise ValueError(Sentence("response-says-nothing", "response must hold text, or tool_calls beside it"))
        for fault in paired([self.reply], whole=False).faults[:1]:
            raise ValueError(fault.why)
        return self

    @model_validator(mode="after")
    def _names_the_assistants(self) -> Self:
        said = [place for place, message in enumerate(self.prompt.messages) if message.role == "assistant"]
        if wrong := sorted(set(self.not_learnt).difference(said)):
            text = "not_learnt names %(wrong)s, where no message of the assistant stands; they stand at %(said)s"
            raise ValueError(Sentence("not-learnt-places", text, wrong=wrong, said=said))
        return self

    @property
    def reply(self) -> Message:
        """The response as the assistant's turn."""
        return Message(role="assistant", content=self.response, tool_calls=self.tool_calls)


NO_SOURCE = "none"  # of a record that says nothing of where it came from


def source_of(record: Record) -> str:
    """Where a record came from, by its lineage."""
    lineage: dict[str, str] = getattr(record, "lineage", {})
    return next((lineage[name] for name in ("source", "dataset", "project") if name in lineage), NO_SOURCE)


class Candidates(Record):
    """The responses of one prompt before anybody has ranked them: their order says nothing."""

    prompt: Prompt
    responses: tuple[str, ...] = Field(min_length=2, max_length=MAX_RESPONSES)
    lineage: dict[str, str] = Field(default_factory=dict)


class Ranking(Record):
    """One annotator's order of the K responses of one prompt (stage 2).

    `groups` hold indices into `responses`, best group first; a group of several is a tie. Every
    response stands in exactly one group, and identical responses stand in the same one.
    """

    prompt: Prompt
    responses: tuple[str, ...] = Field(min_length=2, max_length=MAX_RESPONSES)
    groups: tuple[tuple[int, ...], ...] = Field(min_length=1)
    strength: int | None = Field(default=None, ge=1, le=4, description="Llama-2's steps; 4 = significantly better.")
    all_bad: bool = False
    ratings: tuple[int, ...] | None = Field(default=None, description="1 (worst) to 7 (best), one a response: (K,).")
    flags: tuple[tuple[str, ...], ...] | None = Field(default=None, description="Of each response: pii, unsafe, ...")
    broken_rules: tuple[tuple[str, ...], ...] | None = Field(default=None, description="Rule ids, of each response.")
    rationale: str | None = None
    criterion: Criterion | None = None
    annotator: str | None = Field(default=None, description="A pseudonym, stable within a project.")
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    lineage: dict[str, str] = Field(default_factory=dict, description="Where the row came from: submission, task.")

    @model_validator(mode="after")
    def _is_an_order(self) -> Self:
        flat = sorted(itertools.chain.from_iterable(self.groups))
        if flat != list(range(len(self.responses))) or not all(self.groups):
            why = "groups must hold each index from 0 to %(responses)s exactly once, got %(groups)s"
            raise ValueError(Sentence("groups-incomplete", why, responses=len(self.responses) - 1, groups=self.groups))
        rank_of_text: dict[str, int] = {}
        for text, rank in zip(self.responses, self.ranks, strict=True):
            if rank_of_text.setdefault(text, rank) != rank:
                why = "identical responses must be tied, but %(text)s stands at two ranks"
                raise ValueError(Sentence("identical-not-tied", why, text=f"{text[:60]!r}"))
        return self

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for name in ("ratings", "flags", "broken_rules"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.responses):
                raise ValueError(
                    Sentence(
                        "entry-per-response",
                        "%(name)s must hold one entry a response (%(responses)s), got %(given)s",
                        name=name,
                        responses=len(self.responses),
                        given=len(given),
                    )
                )
        if self.ratings and not all(1 <= rating <= 7 for rating in self.ratings):
            raise ValueError(
                Sentence("ratings-range", "ratings run from 1 to 7, got %(ratings)s", ratings=self.ratings)
            )
        return self

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank of each response, 0 = best, equal for ties: `(K,)`."""
        rank = {i: r for r, group in enumerate(self.groups) for i in group}
        return tuple(rank[i] for i in range(len(self.responses)))

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All (better, worse) index pairs; ties give none."""
        return tuple(comparisons(self.ranks))


class Answer(Record):
    """One question of a form and what was answered."""

    question: str = Field(description="The question's id, stable over versions of the form.")
    text: str = Field(description="As it was asked.")
    value: bool | int | str
    criterion: Criterion | None = None


class Answers(Record):
    """Question-based feedback: one annotator's answers on one response, or on a pair."""

    prompt: Prompt
    responses: tuple[str, ...] = Field(min_length=1, max_length=2)
    answers: tuple[Answer, ...]
    flags: tuple[tuple[str, ...], ...] | None = None
    rationale: str | None = None
    annotator: str | None = None
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    lineage: dict[str, str] = Field(default_factory=dict, description="Submission, task, and the form's version.")


class RuleVerdict(Record):
    """Rule-based feedback: whether one response breaks one rule, as one annotator sees it."""

    prompt: Prompt
    response: str
    rule: str = Field(description="The rule's id, stable over versions of the rule set.")
    text: str = Field(description="The rule as it was shown.")
    verdict: Literal["broken", "kept", "unsure"]
    criterion: Criterion | None = None
    flags: tuple[str, ...] | None = Field(default=None, description="Of the response: pii, unsafe, ...")
    rationale: str | None = None
    annotator: str | None = None
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    lineage: dict[str, str] = Field(default_factory=dict)


R = TypeVar("R", bound=Record)


def comparisons(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """All (better, worse) index pairs of the ranks, 0 = best; ties give none."""
    return [(i, j) for i, a in enumerate(ranks) for j, b in enumerate(ranks) if a < b]


# Steps of strength as the gap that two scores should have (Touvron et al. 2023, table 27, small margins).
SMALL_MARGINS = {4: 1.0, 3: 2 / 3, 2: 1 / 3, 1: 0.0}


def margin_of(ranks: Sequence[int], better: int, whole: float) -> float:
    """By how much `better` should lead a worse response, when the best leads the next by `whole`.

    People say how much better the best is than the next: its lead over the others is no smaller, and of
    the others' leads among themselves nothing was said.
    """
    return whole if ranks[better] == 0 else 0.0


def split_of(prompt: Prompt, heldout_fraction: float) -> Split:
    """The side on which a prompt stands: a function of its text alone, so no prompt is on both."""
    return "heldout" if int(prompt.key[:12], 16) / 16**12 < heldout_fraction else "train"


def write_jsonl(path: Path, records: Iterable[Record]) -> str:
    """Write one canonical line a record; return the sha256 of the file."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for record in records:
            line = record.canonical().encode() + b"\n"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()


def read_jsonl(path: Path, kind: type[R]) -> Iterator[R]:
    """Read records back; a bad line is a ValueError that names file and line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield kind.from_line(line)
            except ValidationError as error:
                raise ValueError(f"{path}, line {number}: {sentences(error, kind)}") from error
