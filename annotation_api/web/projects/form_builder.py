"""A form spec as the flat fields of a plain HTML form, and back. Pure: dictionaries in, dictionaries out.

Lists are blocks numbered from 1 (`questions.2.text`); an empty block is no entry. Options, flags and
short rules stand one a line, `id = words` or words alone, which get an id of their own. What these
fields cannot hold to the letter is edited as JSON: `fields_of` says so by ticking `use_json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from alignment.shared.sentence import Sentence, in_turn
from alignment.shared.validation import Problem, explain, pointed
from annotation_api.db.forms import Option, Question, QuestionsForm, RankingForm, Rule, RulesForm

Fields = Mapping[str, str]
AnyForm = RankingForm | QuestionsForm | RulesForm
CLASSES: dict[str, type[RankingForm] | type[QuestionsForm] | type[RulesForm]] = {
    "ranking": RankingForm,
    "questions": QuestionsForm,
    "rules": RulesForm,
}
MOST_BLOCKS = 40
YES_NO = {"yes": True, "no": False, "是": True, "否": False}
BETWEEN = " / "  # the answers of a condition
_LINE = re.compile(r"^([a-z][a-z0-9_]{0,39})\s*=\s*(.*)$")


NEEDS_ONE = Sentence("needs-one", "At least one is needed.")
PLAIN = {  # by the code of what the validator says: what a person is told
    "input-too_short": NEEDS_ONE,
    "input-string_too_short": Sentence("empty", "This is empty."),
    "input-string_pattern_mismatch": Sentence(
        "no-name", "Lower-case letters, digits and _, beginning with a letter, 40 at most."
    ),
    **dict.fromkeys(("input-int_parsing", "input-int_type"), Sentence("no-whole-number", "A whole number is needed.")),
}
BOUNDS = {  # the same with their numbers
    "input-less_than_equal": ("le", "at-most", "At most %(n)s."),
    "input-greater_than_equal": ("ge", "at-least", "At least %(n)s."),
    "input-string_too_long": ("max_length", "most-characters", "At most %(n)s characters."),
}


def plain(message: str) -> str:
    """A validator's message for people."""
    if not isinstance(message, Sentence):
        return message
    if message.code in PLAIN:
        return PLAIN[message.code]
    if message.code in BOUNDS:
        bound, code, english = BOUNDS[message.code]
        return Sentence(code, english, n=message.values[bound])
    return Sentence.filled(message.code, f"{message[:1].upper()}{message[1:].removesuffix('.')}.", message.values)


FIELDS_OF_WHOLE = {"choice-needs-two": "options", "options-of-a-choice": "options", "scale-rises": "most"}


class UnreadableForm(ValueError):
    """A form cannot be read; `problems` are by the name of a field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


def fields_of(form: AnyForm) -> dict[str, str]:
    """The fields that stand for a form; exact, or with its JSON ticked."""
    fields = {f"{form.kind}.{name}": value for name, value in _fields(form).items()}
    fields |= {f"{form.kind}.on": "yes", f"{form.kind}.json": _pretty(form)}
    try:
        exact = form_of(form.kind, fields) == form
    except UnreadableForm:
        exact = False
    return fields | ({} if exact else {f"{form.kind}.use_json": "yes"})


def form_of(kind: str, fields: Fields) -> AnyForm:
    """The form that the fields of a kind describe. Raises Unreadable with the fields to mend."""
    own = {name.removeprefix(f"{kind}."): value for name, value in fields.items() if name.startswith(f"{kind}.")}
    if own.get("use_json"):
        return _from_json(kind, own.get("json", ""))
    blocks = _blocks(own)
    try:
        return CLASSES[kind].model_validate(_spec(kind, own, blocks))
    except ValidationError as error:
        found = {_field(kind, problem, blocks): plain(problem.message) for problem in explain(error, CLASSES[kind])}
        if len(found) > 1 and found.get("problem") == NEEDS_ONE:  # a list of bad entries counts as empty, too
            del found["problem"]
        raise UnreadableForm({f"{kind}.{name}": message for name, message in found.items()}) from None


def _from_json(kind: str, text: str) -> AnyForm:
    try:
        form = CLASSES[kind].model_validate(json.loads(text))
    except ValidationError as error:
        told = in_turn([pointed(each) for each in explain(error, CLASSES[kind])])
        raise UnreadableForm({f"{kind}.json": told}) from None
    except json.JSONDecodeError as error:
        where = "This is not JSON: see line %(line)s, character %(column)s."
        told = Sentence("form-not-json", where, line=error.lineno, column=error.colno)
        raise UnreadableForm({f"{kind}.json": told}) from None
    except (ValueError, RecursionError):
        told = Sentence(
            "form-json-too-much", "This JSON cannot be read: it is nested too deep, or holds too long a number."
        )
        raise UnreadableForm({f"{kind}.json": told}) from None
    return form


def _pretty(form: AnyForm) -> str:
    return json.dumps(form.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, indent=2)


# ---------------------------------------------------------------- a form to fields


def _fields(form: AnyForm) -> dict[str, str]:
    common = {
        "instruction": form.instruction,
        "rationale": form.rationale,
        "demonstration": "yes" if form.demonstration else "",
        "flags": _lines(form.flags),
    }
    if isinstance(form, RankingForm):
        own = {"strength": form.strength, "ratings": form.ratings, "rules": _lines(form.rules)}
        return common | own | {"criterion": form.criterion or "", "apart": ", ".join(form.apart)}
    if isinstance(form, RulesForm):
        return common | {"probe": "yes" if form.probe else ""} | _numbered(map(_rule_fields, form.rules))
    place = {question.id: str(number) for number, question in enumerate(form.questions, start=1)}
    blocks = _numbered(_question_fields(question, place) for question in form.questions)
    return common | {"about": form.about} | blocks


def _numbered(blocks: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {f"{n}.{name}": value for n, block in enumerate(blocks, start=1) for name, value in block.items()}


def _rule_fields(rule: Rule) -> dict[str, str]:
    return {"id": rule.id, "text": rule.text, "explanation": rule.explanation, "criterion": rule.criterion}


def _question_fields(question: Question, place: Mapping[str, str]) -> dict[str, str]:
    fields = {
        "id": question.id,
        "text": question.text,
        "kind": question.kind,
        "options": _lines(question.options),
        "least": str(question.least),
        "most": str(question.most),
        "least_label": question.least_label,
        "most_label": question.most_label,
        "optional": "" if question.required else "yes",
        "criterion": question.criterion or "",
    }
    if question.when:
        answers = [_typed(answer) for answer in question.when.answers]
        fields |= {"when": place[question.when.question], "answers": BETWEEN.join(answers)}
    return fields


def _typed(answer: str | int | bool) -> str:
    return ("yes" if answer else "no") if isinstance(answer, bool) else str(answer)


def _lines(options: Iterable[Option | Rule]) -> str:
    return "\n".join(f"{option.id} = {option.text}" for option in options)


# ---------------------------------------------------------------- fields to a form


def _blocks(own: Fields) -> list[int]:
    """The numbers of the blocks with a text, rising."""
    found = {int(name.split(".")[0]) for name in own if re.fullmatch(r"[1-9]\d?\.text", name) and own[name].strip()}
    return sorted(found)


def _spec(kind: str, own: Fields, blocks: list[int]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "instruction": _text(own, "instruction"),
        "rationale": own.get("rationale") or "optional",
        "demonstration": bool(own.get("demonstration")),
        "flags": _options(own.get("flags", "")),
    }
    if kind == "ranking":
        chosen = {name: own.get(name) or "off" for name in ("strength", "ratings")}
        named = {"criterion": own.get("criterion") or None, "apart": re.findall(r"[^\s,，、]+", own.get("apart", ""))}
        return spec | chosen | named | {"rules": _options(own.get("rules", ""))}
    taken: set[str] = set()
    ids = {number: _id(own, number, taken) for number in blocks}
    if kind == "rules":
        return spec | {"probe": bool(own.get("probe")), "rules": [_rule(own, n, ids[n]) for n in blocks]}
    questions: list[dict[str, Any]] = []
    for number in blocks:
        questions.append(_question(own, number, ids, questions))
    return spec | {"about": own.get("about") or "response", "questions": questions}


def _rule(own: Fields, number: int, key: str) -> dict[str, Any]:
    block = f"{number}."
    return {
        "id": key,
        "text": _text(own, block + "text"),
        "explanation": _text(own, block + "explanation"),
        "criterion": own.get(block + "criterion") or "harmless",
    }


def _question(own: Fields, number: int, ids: Mapping[int, str], earlier: list[dict[str, Any]]) -> dict[str, Any]:
    block = f"{number}."
    kind = own.get(block + "kind") or "choice"
    question: dict[str, Any] = {
        "id": ids[number],
        "text": _text(own, block + "text"),
        "kind": kind,
        "options": _options(own.get(block + "options", "")) if kind == "choice" else [],
        "required": not own.get(block + "optional"),
        "criterion": own.get(block + "criterion") or None,
    }
    if kind == "scale":
        question |= {name: own.get(block + name) or default for name, default in (("least", "1"), ("most", "5"))}
        question |= {name: _text(own, block + name) for name in ("least_label", "most_label")}
    when = own.get(block + "when", "")
    if when.isdecimal():
        asked = next((each for each in earlier if each["id"] == ids.get(int(when))), None)
        answers = [part.strip() for part in own.get(block + "answers", "").split(BETWEEN.strip()) if part.strip()]
        named = ids.get(int(when), f"question_{when}")
        question["when"] = {"question": named, "answers": [_meant(asked, answer) for answer in answers]}
    return question


def _meant(asked: Mapping[str, Any] | None, answer: str) -> str | int | bool:
    """A condition's answer as the earlier question has it: an option by its id or its words, a number, yes or no."""
    kind = asked["kind"] if asked else "text"
    if kind == "yes_no":
        return YES_NO.get(answer.lower(), answer)
    if kind == "scale" and answer.isdecimal():
        return int(answer)
    options = asked["options"] if asked else []
    return next((str(each["id"]) for each in options if answer in (each["id"], each["text"])), answer)


def _text(own: Fields, name: str) -> str:
    return own.get(name, "").replace("\r\n", "\n").strip()


def _options(lines: str) -> list[dict[str, str]]:
    """One option a line; a line without an id gets one from its words."""
    options: list[dict[str, str]] = []
    taken: set[str] = set()
    for line in filter(None, map(str.strip, lines.splitlines())):
        named = _LINE.match(line)
        key, words = (named[1], named[2].strip()) if named else (new_id(line, taken), line)
        taken.add(key)
        options.append({"id": key, "text": words})
    return options


def _id(own: Fields, number: int, taken: set[str]) -> str:
    """A block's id: the one that is given, else one from its text."""
    key = own.get(f"{number}.id", "").strip() or new_id(own[f"{number}.text"], taken)
    taken.add(key)
    return key


def new_id(words: str, taken: set[str]) -> str:
    """An id from the first words, not among those taken; words without Latin letters give `item`."""
    plain = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    base = re.sub(r"^[^a-z]+", "", plain)[:30].strip("_") or "item"
    return next(key for key in (base, *(f"{base}_{n}" for n in range(2, 1000))) if key not in taken)


def _field(kind: str, problem: Problem, blocks: list[int]) -> str:
    """The field of a problem: /questions/1/options is the `options` of the second block."""
    head, *rest = problem.pointer.strip("/").split("/")
    if head != kind:  # the lists in blocks are named like their kinds
        return head or "problem"
    if not rest or not blocks:
        return "problem"
    part = rest[1] if len(rest) > 1 else _of_whole(problem.message)
    if part == "when":
        part = "answers" if "answers" in rest else "when"
    return f"{blocks[int(rest[0])]}.{'optional' if part == 'required' else part}"


def _of_whole(message: str) -> str:
    """The field that a fault of a whole block is about."""
    return FIELDS_OF_WHOLE.get(getattr(message, "code", ""), "text")
