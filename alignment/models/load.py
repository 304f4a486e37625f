"""Models from local folders, and back: policies, reference models, reward models, critics.

Everything that a stage needs to know about a model folder (is it whole, does it stop, does it pad) is decided here,
once; what it needs to know about the machine, in alignment/models/device.py. Every library call is given a view of
the folder (alignment/models/view.py): safetensors and checked settings alone, nothing that runs, nothing from a hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from alignment.data.stops import turn_end
from alignment.models.adapters import START, Task, adapter_base, can_be_merged, is_adapted, read_adapters
from alignment.models.adapters import save_adapter as save_adapter
from alignment.models.device import dtype_for, is_in_four_bits, pick_device
from alignment.models.ensemble import Ensemble, EnsembleFile
from alignment.models.folder import ScoreScale as ScoreScale
from alignment.models.folder import check_folder, ensemble_file, first_member, is_scorer, load_config
from alignment.models.folder import context_length_of as context_length_of
from alignment.models.folder import read_score_scale as read_score_scale
from alignment.models.folder import save_score_scale as save_score_scale
from alignment.models.library import ensure_scorer, new_head
from alignment.models.methods.apply import apply, trains_own_weights
from alignment.models.methods.four_bits import in_four_bits, read_on, wants_four_bits
from alignment.models.methods.soft_prompts import soft_tokens
from alignment.models.save import round_weights as round_weights
from alignment.models.save import save_model as save_model
from alignment.models.save import saved_type as saved_type
from alignment.models.save import settle
from alignment.models.sharing import merged, scorer_on
from alignment.models.sizes import fit_vocabulary, require_all_weights, require_fit, require_numbers, require_sound
from alignment.models.view import FolderPart, bad, opened
from alignment.shared.config import Light
from alignment.shared.errors import StageError
from alignment.shared.sentence import Sentence
from alignment.untrusted.families import positions
from alignment.untrusted.folder import ADAPTER

if TYPE_CHECKING:  # PEFT is loaded where there are adapters only
    from peft import PeftModel

PAD = "<|pad|>"  # added where a tokenizer has no padding token of its own

hf_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, with an EOS token and a padding token that differs from it.

    A tokenizer without a padding token, or with EOS as one, is given `<|pad|>`: were they equal, the
    stop would be masked with the padding and never learned. Raises BadInput.
    """
    folder = first_member(folder)
    check_folder(folder)
    with opened(folder, FolderPart.TOKENIZER) as seen:
        tokenizer = AutoTokenizer.from_pretrained(seen, local_files_only=True, trust_remote_code=False)
    tokenizer.name_or_path = str(folder)
    require_sound(tokenizer, folder)
    if tokenizer.eos_token_id is None:
        cause = Sentence("no-eos", "The tokenizer in %(folder)s names no EOS token.", folder=folder)
        raise bad(cause, Sentence("set-eos", "Set eos_token in its tokenizer_config.json."))
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id, turn_end(tokenizer)):
        tokenizer.add_special_tokens({"pad_token": PAD})
    return tokenizer


def load_causal_lm(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    trained: bool,
    dropout: bool | float = False,
    light: Light | None = None,
    seed: int = 0,
    device: torch.device | None = None,
) -> PreTrainedModel | PeftModel:
    """A causal language model on its device; `trained=False` freezes it, `light` trains little of it, seeded.

    Raises BadInput for a folder that is missing, unreadable, no causal model, or whose
    embedding is smaller than the tokenizer's vocabulary.
    """
    config = load_config(folder, dropout=dropout)
    if is_scorer(config):
        cause = Sentence("reward-not-language", "%(folder)s is a reward model, not a language model.", folder=folder)
        raise bad(cause, Sentence("give-language-model", "Give the folder of a language model."))
    full, place = trained and trains_own_weights(light), read_on(light, device)
    model = _load(AutoModelForCausalLM, folder, tokenizer, config, full, place)
    return _prepare(model, trained, light, "CAUSAL_LM", seed, device)


def load_base(
    folder: Path, tokenizer: PreTrainedTokenizerBase, device: torch.device | None = None, light: Light | None = None
) -> PreTrainedModel:
    """A frozen language model to put such adapters on, and scorers beside. Raises as `load_causal_lm`."""
    model = load_causal_lm(folder, tokenizer, trained=False, device=read_on(light, device))
    base = merged(model, model.dtype) if is_adapted(model) else cast(PreTrainedModel, model)
    if wants_four_bits(light):
        in_four_bits(base, device or pick_device())
    return base


def load_scorer(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    trained: bool,
    dropout: bool | float = False,
    light: Light | None = None,
    seed: int = 0,
    device: torch.device | None = None,
) -> PreTrainedModel | PeftModel:
    """A model with one number as output (reward model or critic), from either kind of folder.

    From a language model, the `score` head is new: normal with deviation 1/sqrt(width + 1), so that
    scores start near 0 (Stiennon et al. 2020, released code). From a reward model it is the trained one, of an
    ensemble the first member's. Raises BadInput as `load_causal_lm`, and for a classifier of several
    labels, a reward model without its head, or weights that are no numbers.
    """
    folder = first_member(folder)
    config = load_config(folder, dropout=dropout)
    fresh = not is_scorer(config)
    if not fresh and config.num_labels != 1:
        english = "%(folder)s is a classifier of %(labels)s labels, a reward model has 1."
        cause = Sentence("classifier-labels", english, folder=folder, labels=config.num_labels)
        raise bad(cause, Sentence("train-one-here", "Train one here."))
    config.num_labels = 1
    ensure_scorer(config)
    if trained:
        config.trained_in_bits = None  # a critic begins on whole weights
    full, place = trained and trains_own_weights(light), read_on(light, device)
    model = _load(AutoModelForSequenceClassification, folder, tokenizer, config, full, place)
    if fresh:
        new_head(cast(PreTrainedModel, model), seed)
    require_numbers(model, folder)
    return _prepare(model, trained, light, "SEQ_CLS", seed, device)


def load_reward_model(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: torch.device | None = None,
    base: tuple[Path, PreTrainedModel] | None = None,
) -> PreTrainedModel | PeftModel | Ensemble:
    """A frozen reward model to score with: one model, or all members of an ensemble's folder.

    Adapters of `base`, a language model from that folder, stand on its weights. `forward.score_rows` takes all of
    these. Raises BadInput as `load_scorer`.
    """
    if not (folder / EnsembleFile.NAME).exists():
        return _on_base(folder, base) or load_scorer(folder, tokenizer, trained=False, device=device)
    file = ensemble_file(folder)
    if not file.adapters:
        loaded = [load_scorer(folder / name, tokenizer, trained=False, device=device) for name in file.members]
        return Ensemble(tuple(loaded), (None,) * len(loaded), file.combine, file.variance_coef)
    first = folder / file.members[0]
    model = read_adapters(_under(first, tokenizer, load_config(first, dropout=False), False, device), first)
    for name in file.members[1:]:
        with opened(folder / name, FolderPart.ADAPTERS) as seen:
            model.load_adapter(str(seen), adapter_name=name, is_trainable=False)
    model.requires_grad_(False)
    model.eval()
    names = ("default", *file.members[1:])
    means = tuple(float(load_config(folder / name, dropout=False).score_mean) for name in file.members)
    return Ensemble((model,) * len(names), names, file.combine, file.variance_coef, means)


def context_length(model: PreTrainedModel | PeftModel | Ensemble) -> int | None:
    """How many tokens of text the model's positions reach; None where its config sets no bound."""
    reach = positions(model.config.get_text_config())
    return None if reach is None else reach - soft_tokens(model)


def _load(
    auto: Any,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    full: bool,
    device: torch.device | None,
) -> PreTrainedModel | PeftModel:
    """`auto`'s model, its embedding wide enough for the tokenizer, its stop and pad ids the tokenizer's."""
    device = device or pick_device()
    if (folder / ADAPTER).exists():
        return _with_adapters(auto, folder, tokenizer, config, full, device)
    with opened(folder, FolderPart.WEIGHTS) as seen:
        require_fit(auto, config, folder, seen)
        model, found = auto.from_pretrained(
            seen,
            config=config,
            dtype=dtype_for(device, trained=full),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    fresh_head = () if is_scorer(config) else ("score.weight",)
    require_all_weights(found["missing_keys"], folder, but=fresh_head)
    fit_vocabulary(model, tokenizer, folder)
    settle(model, tokenizer)
    torch.nn.Module.to(model, device)  # the library's own `to` is untyped
    return cast(PreTrainedModel, model)


def _with_adapters(
    auto: Any,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    full: bool,
    device: torch.device,
) -> PreTrainedModel | PeftModel:
    """Added up where the weights are float32 and can take the adapters in; else side by side, as they were trained."""
    base = _under(folder, tokenizer, config, full, device)
    model = read_adapters(base, folder, START)
    if auto is AutoModelForSequenceClassification and not is_scorer(config):
        scorer = scorer_on(merged(model, base.dtype))
        if scorer is None:
            english = "%(folder)s holds adapters, on which no reward model can begin."
            cause = Sentence("adapters-no-start", english, folder=folder)
            raise bad(cause, Sentence("merge-and-save", "Merge them and save the whole."))
        return scorer
    apart = base.dtype != torch.float32 or is_in_four_bits(base) or not can_be_merged(model)
    return model if apart else merged(model, torch.float32)


def _under(
    folder: Path, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, full: bool, device: torch.device | None
) -> PreTrainedModel:
    """The model that the adapters in `folder` were trained on; a reward model's with a head that they replace."""
    base, auto = adapter_base(folder), cast(Any, AutoModelForCausalLM)
    try:
        own = load_config(base, dropout=False)
        if is_scorer(config):
            auto, own.num_labels = AutoModelForSequenceClassification, 1
            ensure_scorer(own)
        found = _load(auto, base, tokenizer, own, full, device)
    except StageError as error:
        english = "The adapters in %(folder)s stand on another model. %(cause)s"
        cause = Sentence("adapters-other-base", english, folder=folder, cause=error.cause)
        raise type(error)(cause, error.next_step) from error
    model = merged(found, found.dtype) if is_adapted(found) else found
    if is_scorer(config):
        model.config.score_mean = getattr(config, "score_mean", 0.0)
        if getattr(config, "trained_in_bits", None):  # its scores are those that were measured
            in_four_bits(model, found.device)
    return cast(PreTrainedModel, model)


def _on_base(folder: Path, base: tuple[Path, PreTrainedModel] | None) -> PeftModel | None:
    """The reward model in `folder` on the weights of `base`; None where it was trained on others."""
    if base is None or not (folder / ADAPTER).exists() or adapter_base(folder).resolve() != base[0].resolve():
        return None
    config, scorer = load_config(folder, dropout=False), scorer_on(base[1])
    if scorer is None or bool(getattr(config, "trained_in_bits", None)) != is_in_four_bits(base[1]):
        return None
    scorer.config.score_mean = getattr(config, "score_mean", 0.0)
    model = read_adapters(scorer, folder, START)
    require_numbers(model, folder)
    return model


def _prepare(
    model: PreTrainedModel | PeftModel,
    trained: bool,
    light: Light | None,
    task: Task,
    seed: int,
    device: torch.device | None,
) -> PreTrainedModel | PeftModel:
    if trained and is_adapted(model):
        model = merged(model, model.dtype)
    if trained and wants_four_bits(light):
        in_four_bits(model, device or pick_device())
    for weight in model.parameters():  # adapters that were merged came frozen
        weight.requires_grad_(trained and weight.is_floating_point())
    model.train(trained)
    return apply(model, light, task, seed) if trained else model
