"""K responses of one prompt in order: Open-Assistant trees and lists, scored lists, graded solutions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Demonstration, Message, Prompt, Ranking
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, best_first, by_scores
from annotation_api.datasets.formats.shapes.chats import instruction
from annotation_api.datasets.values import (
    Note,
    Refused,
    Row,
    as_list,
    as_number,
    as_object,
    as_text,
    optional_text,
    prompt_of,
    show,
    text,
    truth,
)

PART_RANKED = Note(
    Sentence("note-groups-answers-were-ranked", "groups of answers that were ranked only in part were left out")
)
DELETED = Note(
    Sentence("note-answers-were-deleted-marked", "answers that were deleted or marked as spam were left out")
)
LOW_STATES = frozenset({"aborted_low_grade", "halted_by_moderator", "spam"})
LOW_QUALITY = Note(
    Sentence("note-trees-were-given-up", "trees that were given up as spam or of low quality were left out")
)
GIVEN_ORDER = Note(
    Sentence("note-answers-list-output-were", "the answers in the list `output` were taken as ordered, best first")
)
UNRANKED = Note(Sentence("note-groups-answers-without-any", "groups of answers without any rank were left out"))

# ---------------------------------------------------------------- lists


def list_ranking(row: Row) -> Made:
    """`output` is a list, best first."""
    answers = as_list(row.get("output"), "output")
    texts = [as_text(answer, f"output[{i}]") for i, answer in enumerate(answers)]
    yield GIVEN_ORDER
    yield from best_first(instruction(row), texts, "output")


def scored_ranking(row: Row) -> Made:
    """`responses_and_scores` as GPT-4-LLM's comparison data: the higher score is the better response."""
    name = "responses_and_scores"
    items = [as_object(item, f"{name}[{i}]") for i, item in enumerate(as_list(row.get(name), name))]
    texts = [as_text(item.get("response"), f"{name}[{i}].response") for i, item in enumerate(items)]
    scores = [as_number(item.get("score"), f"{name}[{i}].score") for i, item in enumerate(items)]
    yield from by_scores(instruction(row), texts, scores, name)


def llmzoo_ranking(row: Row) -> Made:
    """`order[i]` is the rank of `metadata.answers[i]`, 1 = best; equal ranks are a tie."""
    answers = as_list(_metadata(row).get("answers"), "metadata.answers")
    ranks = as_list(row.get("order"), "order")
    if len(ranks) != len(answers):
        raise Refused(
            "order",
            Sentence(
                "ranks-for-answers",
                "holds %(ranks)s ranks for %(answers)s answers; one for each is needed",
                ranks=len(ranks),
                answers=len(answers),
            ),
        )
    texts = [as_text(answer, f"metadata.answers[{i}]") for i, answer in enumerate(answers)]
    scores = [-as_number(rank, f"order[{i}]") for i, rank in enumerate(ranks)]
    annotator = optional_text(row, "reviewer_id") or None
    yield from by_scores(_llmzoo_prompt(row), texts, scores, "order", annotator=annotator)


def llmzoo_prompt(row: Row) -> Iterator[Prompt]:
    yield _llmzoo_prompt(row)


def _metadata(row: Row) -> dict[str, Any]:
    return as_object(row.get("metadata"), "metadata")


def _llmzoo_prompt(row: Row) -> Prompt:
    question = as_text(_metadata(row).get("question"), "metadata.question")
    return Prompt.from_text(question, language=optional_text(row, "lang") or None)


def graded_ranking(row: Row) -> Made:
    """Solutions with `is_correct` (GSM8K's model solutions): right ones tie above wrong ones."""
    solutions = {name: row[name] for name, value in row.items() if isinstance(value, dict) and "is_correct" in value}
    texts = [as_text(value.get("solution"), f"{name}.solution") for name, value in solutions.items()]
    scores = [float(truth(value, "is_correct")) for value in solutions.values()]
    yield from by_scores(instruction(row), texts, scores, "is_correct")


# ---------------------------------------------------------------- Open-Assistant trees


def tree_ranking(row: Row) -> Iterator[Ranking | Note]:
    """Each fully ranked group of sibling answers is one ranking; `rank` 0 is the best.

    Refused when the tree holds no such group.
    """
    if _is_low(row):
        yield LOW_QUALITY
        return
    found = left_out = 0
    for path, replies, field in _groups(row):
        answers = [reply for reply in replies if reply.get("role") == "assistant" and not _is_out(reply)]
        left_out += sum(map(_is_out, replies))
        if len(answers) < 2:
            continue
        ranked = sum(answer.get("rank") is not None for answer in answers)
        if ranked < len(answers):
            yield PART_RANKED if ranked else UNRANKED
            continue
        found += 1
        yield from _siblings(path, answers, field)
    yield from [DELETED] * left_out
    if not found and not left_out:
        raise Refused(
            "prompt.replies", Sentence("no-ranked-group", "holds no group of two or more answers that are all ranked")
        )


def _is_low(row: Row) -> bool:
    """A tree that was given up, or whose first message was taken out."""
    return str(row.get("tree_state")) in LOW_STATES or _is_out(as_object(row.get("prompt"), "prompt"))


def _is_out(reply: dict[str, Any]) -> bool:
    """Deleted, or found to be spam by those who reviewed it."""
    return reply.get("deleted") is True or reply.get("spam") is True or reply.get("review_result") is False


def _siblings(path: list[Message], answers: list[dict[str, Any]], field: str) -> Made:
    texts = [as_text(answer.get("text"), f"{field}.replies[{i}].text") for i, answer in enumerate(answers)]
    scores = [-as_number(answer["rank"], f"{field}.replies[{i}].rank") for i, answer in enumerate(answers)]
    language = optional_text(answers[0], "lang") or None
    yield from by_scores(prompt_of(path, field, language=language), texts, scores, f"{field}.replies")


def tree_prompt(row: Row) -> Iterator[Prompt | Note]:
    if _is_low(row):
        yield LOW_QUALITY
        return
    root = as_object(row.get("prompt"), "prompt")
    yield Prompt.from_text(text(root, "text"), language=optional_text(root, "lang") or None)


def tree_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    """The conversation along the best-ranked replies, up to its last answer."""
    if _is_low(row):
        yield LOW_QUALITY
        return
    turns, node = [_said(row.get("prompt"), "prompt")], as_object(row.get("prompt"), "prompt")
    while replies := [reply for reply in _replies(node, "prompt") if not _is_out(reply)]:
        node = min(replies, key=_rank)
        turns.append(_said(node, "prompt.replies"))
    while turns and turns[-1].role != "assistant":
        turns.pop()
    if not turns:
        raise Refused("prompt.replies", Sentence("no-assistant-answer", "holds no answer of the assistant"))
    language = optional_text(as_object(row["prompt"], "prompt"), "lang") or None
    yield Demonstration(prompt=prompt_of(turns[:-1], "prompt", language=language), response=turns[-1].content)


def _groups(row: Row) -> Iterator[tuple[list[Message], list[dict[str, Any]], str]]:
    """Every message with replies: the path to it, the replies, and its place in the row."""
    root = as_object(row.get("prompt"), "prompt")
    waiting: list[tuple[dict[str, Any], list[Message], str]] = [(root, [], "prompt")]
    while waiting:
        node, above, field = waiting.pop()
        replies = _replies(node, field)
        if not replies:
            continue
        path = [*above, _said(node, field)]
        yield path, replies, field
        deeper = [(reply, path, f"{field}.replies[{i}]") for i, reply in enumerate(replies) if not _is_out(reply)]
        waiting.extend(reversed(deeper))


def _replies(node: dict[str, Any], field: str) -> list[dict[str, Any]]:
    replies = as_list(node.get("replies") or [], f"{field}.replies")
    return [as_object(reply, f"{field}.replies[{i}]") for i, reply in enumerate(replies)]


def _rank(reply: dict[str, Any]) -> float:
    """For choosing one path: an unranked reply comes after every ranked one."""
    rank = reply.get("rank")
    return float("inf") if rank is None else as_number(rank, "prompt.replies.rank")


def _said(node: object, field: str) -> Message:
    fields = as_object(node, field)
    role = fields.get("role")
    if role not in ("prompter", "assistant"):
        raise Refused(
            f"{field}.role",
            Sentence("prompter-or-assistant", "must be prompter or assistant, it is %(role)s", role=show(role)),
        )
    content = as_text(fields.get("text"), f"{field}.text")
    return Message(role="user" if role == "prompter" else "assistant", content=content)
