"""The records that the two halves of the loop exchange: prompts, demonstrations, rankings, candidates.

Each is frozen, validated at construction, and has one canonical JSON line, so that a file of
records has one content hash wherever it is written.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alignment.shared.sentence import Sentence
from alignment.shared.validation import sentences

MAX_RESPONSES = 64  # a ranking of more is a fault in the file, not a ranking

Criterion = Literal["helpful", "honest", "harmless"]
Split = Literal["train", "heldout"]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def canonical(self) -> str:
        """One JSON line: sorted keys, no blanks, unset optional fields left out, text as UTF-8."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True, exclude_defaults=True))

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        return cls.model_validate_json(line)


class Message(Record):
    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Record):
    """The messages before the response; the last one is the user's."""

    messages: tuple[Message, ...] = Field(min_length=1)
    criterion: Criterion | None = Field(default=None, description="What a good response mainly needs here.")
    language: str | None = Field(default=None, description="BCP 47 tag, for example en or zh.")

    @model_validator(mode="after")
    def _ends_with_user(self) -> Self:
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
        return "\n\n".join(f"{m.role}: {m.content}" for m in self.messages)

    @property
    def key(self) -> str:
        """The hash of the messages alone: equal for two rows that ask the same."""
        return sha256_text(canonical_json([[m.role, m.content] for m in self.messages]))


class Demonstration(Record):
    """A prompt and a response worth imitating (stage 1)."""

    prompt: Prompt
    response: str = Field(min_length=1)
    not_learnt: tuple[int, ...] = Field(
        default=(), description="Places of the assistant's messages in the prompt that are never learnt (weight 0)."
    )
    lineage: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_the_assistants(self) -> Self:
        said = [place for place, message in enumerate(self.prompt.messages) if message.role == "assistant"]
        if wrong := sorted(set(self.not_learnt).difference(said)):
            text = "not_learnt names %(wrong)s, where no message of the assistant stands; they stand at %(said)s"
            raise ValueError(Sentence("not-learnt-places", text, wrong=wrong, said=said))
        return self


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
            raise ValueError(
                Sentence(
                    "groups-incomplete",
                    "groups must hold each index from 0 to %(responses)s exactly once, got %(groups)s",
                    responses=len(self.responses) - 1,
                    groups=self.groups,
                )
            )
        rank_of_text: dict[str, int] = {}
        for text, rank in zip(self.responses, self.ranks, strict=True):
            if rank_of_text.setdefault(text, rank) != rank:
                raise ValueError(
                    Sentence(
                        "identical-not-tied",
                        "identical responses must be tied, but %(text)s stands at two ranks",
                        text=f"{text[:60]!r}",
                    )
                )
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


def canonical_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def storable(value: Any) -> Any:
    """`value` as Postgres' jsonb takes it: numbers that are not finite become null, and characters
    that it refuses (NUL, lone surrogates; a byte-level tokenizer can make them) become U+FFFD."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return (value if math.isfinite(value) else None) if isinstance(value, float) else value


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
