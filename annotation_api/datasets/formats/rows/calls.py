"""What was logged of a model's API, or is to be sent to one, as the chat that it is.

{"body": {"messages": [...]}}                            OpenAI's batches
{"request": {"messages": [...]}, "response": {"choices": [{"message": {...}}]}}
{"input": [...], "output": [{"type": "message", ...}]}   OpenAI's Responses
{"contents": [{"role": "user", "parts": [...]}]}         Gemini
{"input": [{"role": ...}], "ideal": "..."}               OpenAI's evals
{"row_idx": 0, "row": {...}}                             a page of a hub's viewer
"""

from __future__ import annotations

from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Refused

Row = dict[str, Any]


def unwrapped(row: Row) -> Row:
    """The row as a chat, where it is one of these; any other as it stands."""
    if row.keys() >= {"row_idx", "row"} and isinstance(row["row"], dict):
        return _of_viewer(row)
    if isinstance(row.get("body"), dict) and _is_chat(row["body"].get("messages")):
        return {**_without(row, "body"), **row["body"]}
    if isinstance(row.get("request"), dict) and _is_chat(row["request"].get("messages")):
        return _answered(row)
    if _is_gemini(row):
        return _without(row, "contents", "systemInstruction", "system_instruction") | {"messages": _turns(row)}
    if _is_typed(row.get("output")) and isinstance(row.get("input"), str | list):
        thought = [item for item in row["output"] if item["type"] == "reasoning"]
        chat = {"messages": _of_responses(row)} | ({"thinking": thought} if thought else {})
        return _without(row, "input", "output", "instructions") | chat
    if _is_chat(row.get("input")) and row.get("ideal") is not None:
        ideal = row["ideal"]
        name = "responses" if isinstance(ideal, list) else "output"
        return _without(row, "input", "ideal") | {"prompt": row["input"], name: ideal}
    return row


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def _is_chat(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)


def _of_viewer(row: Row) -> Row:
    if row.get("truncated_cells"):
        raise Refused(
            "truncated_cells",
            Sentence("viewer-cut", "says that the page of the hub's viewer cut these cells; download the file itself"),
        )
    return dict(row["row"])


def _answered(row: Row) -> Row:
    """What was asked, and the answers: one is a turn of the chat, several are responses to it."""
    asked = row["request"]
    response = row.get("response")
    choices = response.get("choices") if isinstance(response, dict) else None
    said = [item.get("message") for item in choices or () if isinstance(item, dict)]
    rest: Row = {**_without(row, "request", "response"), **asked}
    if len(said) == 1 and isinstance(said[0], dict):
        return rest | {"messages": [*asked["messages"], said[0]]}
    return rest | ({"responses": [[turn] for turn in said]} if said else {})


def _is_gemini(row: Row) -> bool:
    turns = row.get("contents")
    return (
        isinstance(turns, list)
        and bool(turns)
        and all(isinstance(turn, dict) and isinstance(turn.get("parts"), list) for turn in turns)
    )


def _turns(row: Row) -> list[Row]:
    system = row.get("systemInstruction") or row.get("system_instruction")
    first = [{"role": "system", "content": system.get("parts")}] if isinstance(system, dict) else []
    return first + [_without(turn, "parts") | _said_and_thought(turn["parts"]) for turn in row["contents"]]


def _said_and_thought(parts: Any) -> Row:
    """What a model thought first stands beside what it says: it is named among what was not used."""
    thought = [part for part in parts if isinstance(part, dict) and part.get("thought")]
    return {"content": [part for part in parts if part not in thought]} | ({"thinking": thought} if thought else {})


def _is_typed(value: object) -> bool:
    """Whether the items of a list say of which type they are, and one is a message."""
    items = value if isinstance(value, list) else []
    return (
        bool(items)
        and all(isinstance(item, dict) and "type" in item for item in items)
        and any(item["type"] == "message" for item in items)
    )


def _of_responses(row: Row) -> list[Row]:
    asked = row["input"] if isinstance(row["input"], list) else [{"role": "user", "content": row["input"]}]
    system = row.get("instructions")
    first = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    # What a model thought is no turn of the chat; the call of a tool stays, and is refused by its name.
    said = [item for item in row["output"] if item["type"] != "reasoning"]
    return [*first, *asked, *said]
