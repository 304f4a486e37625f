"""What stands in a model folder, read without loading its weights.

Is it whole, is it a language model or a reward model, one model or an ensemble, how far do its positions
reach, how do its scores lie. `alignment.models.load` loads what is found here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoConfig, PretrainedConfig

from alignment.models.ensemble import EnsembleFile
from alignment.models.view import FolderPart, bad, opened, readable
from alignment.shared.sentence import Sentence
from alignment.untrusted import json as safe_json
from alignment.untrusted.families import positions
from alignment.untrusted.files import UnsafeModel, read_limited
from alignment.untrusted.folder import plain_name

SCALE = "score.json"
MAX_BYTES = 2**20  # of a file of this product's own


class ScoreScale(NamedTuple):
    """How a reward model's raw scores lie on reference answers: `(score - mean) / std` is comparable."""

    mean: float
    std: float
    reference: str  # which answers those are
    n: int  # how many


def read_score_scale(folder: Path) -> ScoreScale | None:
    """Mean and deviation of the model's raw scores on reference answers; None where nobody measured them."""
    path = first_member(folder) / SCALE
    if not path.exists():
        return None
    with readable(folder, SCALE):
        return ScoreScale(**_read(path))


def save_score_scale(folder: Path, scale: ScoreScale) -> None:
    """Write `score.json` beside the model."""
    (folder / SCALE).write_text(json.dumps(scale._asdict()) + "\n")


def context_length_of(folder: Path) -> int | None:
    """The same, without loading the model."""
    return positions(load_config(first_member(folder), dropout=False).get_text_config())


def first_member(folder: Path) -> Path:
    """The folder itself, or, of an ensemble, that of its first member: what a critic begins from."""
    return folder / ensemble_file(folder).members[0] if (folder / EnsembleFile.NAME).exists() else folder


def ensemble_file(folder: Path) -> EnsembleFile:
    """What `ensemble.json` says; its members lie in the folder itself."""
    with readable(folder, EnsembleFile.NAME):
        file = EnsembleFile.parse(_read(folder / EnsembleFile.NAME))
        for name in file.members:
            if not plain_name(name) or (folder / name).is_symlink():
                raise UnsafeModel(
                    Sentence("unsafe-member", "It names %(name)s.", name=repr(str(name)[:80])),
                    Sentence("unsafe-members-are-folders-beside", "Members are folders beside it."),
                )
    return file


def _read(path: Path) -> dict[str, Any]:
    return safe_json.parse(path.name, read_limited(path, MAX_BYTES))


def is_scorer(config: PretrainedConfig) -> bool:
    return architecture(config).endswith("ForSequenceClassification")


SKIPS_LAYERS = {"layerdrop"}  # not a rate of numbers, but of whole blocks


def load_config(folder: Path, *, dropout: bool | float) -> PretrainedConfig:
    """The folder's config; without `dropout` every dropout rate in it is 0 (the PPO ratio must start at 1).

    A number is the rate of all. Raises BadInput where the family has no dropout to set.
    """
    check_folder(folder)
    with opened(folder, FolderPart.CONFIG) as seen:
        config: PretrainedConfig = AutoConfig.from_pretrained(seen, local_files_only=True, trust_remote_code=False)
        text = config.get_text_config()  # a few models of sound and picture have several: no language models
    rates = [name for name, value in text.to_dict().items() if "drop" in name and type(value) in (int, float)]
    if dropout is True:
        return config
    if dropout and not set(rates) - SKIPS_LAYERS:
        raise bad(
            Sentence(
                "no-dropout",
                "dropout is %(dropout)s, but %(model_type)s has none to set.",
                dropout=f"{dropout:g}",
                model_type=config.model_type,
            ),
            Sentence("unset-dropout", "Leave dropout unset."),
        )
    for name in rates:
        setattr(text, name, 0.0 if name in SKIPS_LAYERS else float(dropout))
    return config


def architecture(config: PretrainedConfig) -> str:
    return (config.architectures or [""])[0]


def check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise bad(
            Sentence("no-model-folder", "There is no model folder %(folder)s.", folder=folder),
            Sentence("check-path", "Check the path."),
        )
    if not (folder / "config.json").exists():
        raise bad(
            Sentence("no-config-json", "%(folder)s is not a model folder: it has no config.json.", folder=folder),
            Sentence("give-saved-model", "Give a folder with a saved model."),
        )
