"""What stands in a model folder, read without loading its weights.

Is it whole, is it a language model or a reward model, one model or an ensemble, how far do its positions
reach, how do its scores lie. `alignment.models` loads what is found here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from transformers import AutoConfig, PretrainedConfig

from alignment.ensemble import EnsembleFile
from alignment.events import ErrorKind, StageError

SCALE = "score.json"


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
        return ScoreScale(**json.loads(path.read_text()))


def save_score_scale(folder: Path, scale: ScoreScale) -> None:
    """Write `score.json` beside the model."""
    (folder / SCALE).write_text(json.dumps(scale._asdict()) + "\n")


def context_length_of(folder: Path) -> int | None:
    """The same, without loading the model."""
    return positions(load_config(first_member(folder), dropout=False))


def positions(config: PretrainedConfig) -> int | None:
    value = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(value) if value and value > 0 else None


def first_member(folder: Path) -> Path:
    """The folder itself, or, of an ensemble, that of its first member: what a critic begins from."""
    return folder / ensemble_file(folder).members[0] if (folder / EnsembleFile.NAME).exists() else folder


def ensemble_file(folder: Path) -> EnsembleFile:
    with readable(folder, EnsembleFile.NAME):
        return EnsembleFile.read(folder)


def is_scorer(config: PretrainedConfig) -> bool:
    return architecture(config).endswith("ForSequenceClassification")


def load_config(folder: Path, *, dropout: bool) -> PretrainedConfig:
    """The folder's config; without `dropout` every dropout rate in it is 0 (the PPO ratio must start at 1)."""
    check_folder(folder)
    with readable(folder, "config.json"):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for name, value in config.get_text_config().to_dict().items():
        if not dropout and "drop" in name and isinstance(value, float):
            setattr(config.get_text_config(), name, 0.0)
    return config


def architecture(config: PretrainedConfig) -> str:
    return (config.architectures or [""])[0]


def check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise bad(f"There is no model folder {folder}.", "Check the path.")
    if not (folder / "config.json").exists():
        raise bad(f"{folder} is not a model folder: it has no config.json.", "Give a folder with a saved model.")


@contextmanager
def readable(folder: Path, what: str) -> Iterator[None]:
    """Turn what a loading library raises for a damaged or foreign folder into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise bad(
            f"The {what} in {folder} cannot be read: {first}", "Save it again; weights as safetensors."
        ) from error


def bad(cause: str, next_step: str) -> StageError:
    return StageError(ErrorKind.BAD_INPUT, cause, next_step)
