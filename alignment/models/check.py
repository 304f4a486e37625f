"""What a model folder is and whether each stage can use it, in seconds and without its weights in memory.

python -m alignment check FOLDER
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from alignment.data.chat import has_template
from alignment.data.screening import screen
from alignment.data.stops import is_sound, keep_stops
from alignment.models.folder import architecture, is_scorer, load_config
from alignment.models.library import ensure_scorer
from alignment.models.load import load_tokenizer
from alignment.models.recurrent import is_recurrent
from alignment.models.sizes import require_fit, require_vocabulary, scan, stored_type
from alignment.models.view import FolderPart, opened, readable
from alignment.shared.errors import BadInput
from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence, counted, parts
from alignment.untrusted import folder as safe_folder
from alignment.untrusted.adapters import bases_of
from alignment.untrusted.families import after_head, positions, usually_adapted
from alignment.untrusted.files import UnsafeModel
from alignment.untrusted.folder import GENERATION, SafeFolder
from alignment.untrusted.weight_files import open_weights

WITH_TOOLS = Prompt.model_validate_json(
    """{"tools": [{"function": {"name": "look", "description": "?", "parameters": {}}}], "messages": [
        {"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call00001", "function": {"name": "look", "arguments": {"at": "?"}}}]},
        {"role": "tool", "tool_call_id": "call00001", "name": "look", "content": "?"}]}"""
)
SAYS = "Name a tree."
MEND_TEMPLATE = Sentence("mend-template", "Mend it, or remove it: SFT then installs the project's.")
OPTIMIZER = 12  # bytes a trained weight: gradient and AdamW's two moments in float32


@dataclass(frozen=True)
class Checked:
    """The folder in facts, and what is worth knowing before a job is made."""

    facts: dict[str, Any]
    notes: list[Sentence]

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.facts.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def said(self) -> dict[str, Any]:
        """As JSON that keeps the codes of its sentences."""
        facts = {name: parts(value) for name, value in self.facts.items()}
        return {"facts": facts, "notes": [parts(note) for note in self.notes]}


def check(folder: Path) -> Checked:
    """Raises BadInput, one sentence with the way on, for a folder that no stage can use."""
    try:
        safe = safe_folder.inspect(folder)
        safe_folder.require_tokenizer(safe)
        below = [safe, *bases_of(safe, lambda base: True)]
        with ExitStack() as descriptors:
            open_weights(below[-1], descriptors)
    except UnsafeModel as error:
        raise BadInput(
            Sentence("folder-unusable", "%(folder)s cannot be used: %(cause)s", folder=folder, cause=error.cause),
            error.next_step,
        ) from error
    config, tokenizer = load_config(folder, dropout=True), load_tokenizer(folder)
    with readable(folder, FolderPart.CONFIG.value):
        model = _skeleton(config)
    unread = _require_weights(below[-1].folder)
    _require_template(tokenizer, folder)
    require_vocabulary(model, tokenizer, folder)
    given = below[-1].settings.get(GENERATION, {})
    given = {name: value for name, value in given.items() if name != "transformers_version"}
    settings = GenerationConfig(**given)  # type: ignore[no-untyped-call]
    sound = is_sound(settings)
    model.generation_config = settings
    keep_stops(model, tokenizer)
    weights = sum(weight.numel() for weight in model.parameters())
    facts = {
        "folder": str(folder),
        **_adapters(below),
        "kind": Sentence("is-a-scorer", "reward model")
        if is_scorer(config)
        else Sentence("is-a-language-model", "language model"),
        "architecture": architecture(config),
        "family": config.model_type,
        "weights": weights,
        "numbers": scan(below[-1].folder),
        "number type": str(stored_type(below[-1].folder)).removeprefix("torch."),
        "context": positions(config.get_text_config()) or Sentence("context-unbounded", "unbounded"),
        "stops": _names(tokenizer, settings.eos_token_id),
        "chat template": _template(tokenizer),
        "tools": _tools(tokenizer),
        "memory": _memory(weights, config),
    }
    notes = [*safe.ignored, *_unread(unread), *_notes(model, tokenizer, config, sound)]
    return Checked(facts, notes)


def _template(tokenizer: PreTrainedTokenizerBase) -> Sentence:
    if has_template(tokenizer):
        return Sentence("template-its-own", "its own")
    return Sentence("template-none", "none; SFT installs the project's")


def _tools(tokenizer: PreTrainedTokenizerBase) -> Sentence:
    """Whether rows with tools can be learnt."""
    if has_template(tokenizer) and not screen(tokenizer, [(WITH_TOOLS, ())], "leave_out").reasons:
        return Sentence("template-with-tools", "its chat template takes them")
    english = "its chat template does not take them; template_refusals says what happens to such rows"
    return Sentence("template-without-tools", english)


def _adapters(below: list[SafeFolder]) -> dict[str, Sentence]:
    """What stands on what, where the folder holds adapters."""
    kinds = [str(safe.settings[safe_folder.ADAPTER]["peft_type"]).lower() for safe in below[:-1]]
    said = Sentence("adapters-on", "%(kinds)s on %(folder)s", kinds=", ".join(kinds), folder=below[-1].folder)
    return {"adapters": said} if kinds else {}


def _skeleton(config: PretrainedConfig) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(config))  # type: ignore[no-untyped-call]


def _require_weights(folder: Path) -> list[str]:
    """That the files hold what the config says, to the tensor; the names of what the model has no place for."""
    config = load_config(folder, dropout=True)
    ensure_scorer(config)
    auto = AutoModelForSequenceClassification if is_scorer(config) else AutoModelForCausalLM
    with opened(folder, FolderPart.WEIGHTS) as seen:
        return require_fit(auto, config, folder, seen)


def _require_template(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """That the chat template, where there is one, shows what a user says."""
    if not has_template(tokenizer):
        return
    asked = [{"role": "user", "content": SAYS}]
    try:
        shown = str(tokenizer.apply_chat_template(asked, tokenize=False))
    except Exception as error:  # whatever a stranger's template raises
        english = "The chat template in %(folder)s refuses a single turn of the user: %(error)s."
        cause = Sentence("template-refuses-all", english, folder=folder, error=str(error)[:200].rstrip("."))
        raise BadInput(cause, MEND_TEMPLATE) from error
    if SAYS not in shown:
        english = "The chat template in %(folder)s leaves out what the user says."
        raise BadInput(Sentence("template-says-nothing", english, folder=folder), MEND_TEMPLATE)


def _names(tokenizer: PreTrainedTokenizerBase, ids: int | list[int]) -> list[str]:
    return [str(tokenizer.convert_ids_to_tokens(i)) for i in (ids if isinstance(ids, list) else [ids])]


def _memory(weights: int, config: PretrainedConfig) -> dict[str, str]:
    """Bytes of weights and optimizer by stage, trained in full, without activations."""
    trained = weights * (4 + OPTIMIZER)
    need = {"sft": trained, "reward": trained, "sample": 4 * weights, "ppo": 2 * trained + 2 * 4 * weights}
    return {stage: f"{size / 1e9:.2f} GB" for stage, size in need.items()}


def _notes(model: Any, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, sound: bool) -> Iterator[Sentence]:
    if not sound:
        english = "%(file)s cannot be saved as it is (temperature without do_sample, or the like); it is mended."
        yield Sentence("generation-mended", english, file=GENERATION)
    if after_head(config.get_text_config()) != (1.0, None):
        yield Sentence("logits-scaled", "The logits are scaled or capped after the output layer; PPO applies the same.")
    if is_recurrent(model):
        english = "Its memory is a running state: sampling computes the whole text again at each token, which is slow."
        yield Sentence("running-state", english)
    if not type(model)._can_set_attn_implementation() or is_recurrent(model):
        yield Sentence("no-continuous", "rollout_engine 'continuous' cannot sample from it: leave it at 'generate'.")
    layers = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    if any(not usually_adapted(config.model_type, name, False) for name in layers if "lm_head" not in name):
        english = "Adapters leave its routers, experts or towers alone, unless lora.targets names them."
        yield Sentence("adapters-leave-alone", english)
    if has_template(tokenizer) and (refused := list(_refused(tokenizer))):
        english = "Its chat template refuses %(what)s: template_refusals says what happens to such rows."
        listed = reduce(
            lambda first, then: Sentence("and-also", "%(first)s, %(then)s", first=first, then=then), refused
        )
        yield Sentence("template-refuses-forms", english, what=listed)


def _unread(names: list[str]) -> Iterator[Sentence]:
    if names:
        yield counted(
            "tensors-not-read",
            "Its files hold %(n)s tensor that the model has no place for, %(first)s: not read.",
            "Its files hold %(n)s tensors that the model has no place for, for example %(first)s: not read.",
            n=len(names),
            first=names[0],
        )


def _refused(tokenizer: PreTrainedTokenizerBase) -> Iterator[Sentence]:
    """The forms of chats that the template does not take, by name."""
    forms = (
        (Sentence("a-system-turn", "a system turn"), ("system", "user")),
        (Sentence("two-user-turns", "two user turns in a row"), ("user", "user")),
        (Sentence("assistant-opens", "a chat that opens with the assistant"), ("assistant", "user")),
    )
    for name, roles in forms:
        prompt = Prompt(messages=tuple(Message(role=role, content="?") for role in roles))  # type: ignore[arg-type]
        if screen(tokenizer, [(prompt, ())], "leave_out").reasons:
            yield name
