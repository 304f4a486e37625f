"""Which files of a model folder hold its weights: open, with sound headers that fit the settings, or why not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from alignment.shared.sentence import Sentence
from alignment.untrusted import fits
from alignment.untrusted import weights as safe_weights
from alignment.untrusted.files import UnsafeModel, open_regular
from alignment.untrusted.folder import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    BOTTLENECK,
    CONFIG,
    INDEX,
    WEIGHTS,
    SafeFolder,
    entries,
    plain_name,
)

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npz", ".gguf")
_UNFINISHED = re.compile(r"\.safetensors.*\.(incomplete|part|crdownload|aria2|tmp|download)$")


def open_weights(safe: SafeFolder, descriptors: ExitStack, *, adapters: bool = False) -> dict[str, int]:
    """The files that make the model (or its `adapters`), open and with sound headers that fit the config."""
    names = [_require(safe, ADAPTER_WEIGHTS)] if adapters else _weight_names(safe)
    opened = {}
    for name in names:
        opened[name] = open_regular(safe.files[name])
        descriptors.callback(os.close, opened[name])
    found = {name: safe_weights.elements(name, descriptor) for name, descriptor in opened.items()}
    if adapters:
        fits.check_soft_prompt(ADAPTER, safe.settings[ADAPTER], sum(found[ADAPTER_WEIGHTS].values()))
        if safe.settings[ADAPTER]["peft_type"] == BOTTLENECK:
            fits.check_width(ADAPTER, safe.settings[ADAPTER], found[ADAPTER_WEIGHTS])
    else:
        _check_index(safe, found)
        fits.check_sizes(CONFIG, safe.settings[CONFIG], sum(sum(tensors.values()) for tensors in found.values()))
    return opened


def _weight_names(safe: SafeFolder) -> list[str]:
    if WEIGHTS in safe.files:
        return [WEIGHTS]
    if INDEX in safe.files:
        return _indexed(safe)
    pickles = sorted(entry.name for entry in entries(safe.folder) if Path(entry.name).suffix in PICKLES)
    if pickles:
        raise UnsafeModel(
            Sentence(
                "unsafe-holds-weights-only-as",
                "it holds weights only as %(pickles)s, which can run code when loaded.",
                pickles=pickles[0],
            ),
            Sentence(
                "unsafe-convert-them-rankloop-models",
                "Convert them: rankloop models convert %(folder)s NEW_FOLDER.",
                folder=safe.folder,
            ),
        )
    if found := sorted(entry.name for entry in entries(safe.folder) if _UNFINISHED.search(entry.name)):
        raise UnsafeModel(
            Sentence(
                "unsafe-rest-of-download",
                "its weights are not whole: %(file)s is the rest of a download.",
                file=found[0],
            ),
            Sentence("unsafe-download-again", "Download it again."),
        )
    if found := sorted(name for name in safe.files if name.endswith(".safetensors") and name != ADAPTER_WEIGHTS):
        english = "it holds safetensors only as %(files)s, which no library of models reads under this name."
        step = "A single file in the library's own names is called %(weights)s; several need %(index)s beside them."
        raise UnsafeModel(
            Sentence("unsafe-other-names", english, files=", ".join(found[:3])),
            Sentence("unsafe-usual-names", step, weights=WEIGHTS, index=INDEX),
        )
    raise UnsafeModel(
        Sentence("unsafe-holds-no-weights", "it holds no weights."),
        Sentence(
            "unsafe-weights-needed",
            "%(weights)s, or %(index)s with its files, is needed.",
            weights=WEIGHTS,
            index=INDEX,
        ),
    )


def _indexed(safe: SafeFolder) -> list[str]:
    places = safe.settings[INDEX].get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UnsafeModel(
            Sentence("unsafe-has-no-weight-map", "%(index)s has no weight_map.", index=INDEX),
            Sentence("unsafe-save-model-again", "Save the model again."),
        )
    for place in places.values():
        if not plain_name(place) or not place.endswith(".safetensors"):
            raise UnsafeModel(
                Sentence(
                    "unsafe-names-no-safetensors-file",
                    "%(index)s names %(place)s, which is no safetensors file beside it.",
                    index=INDEX,
                    place=repr(str(place)[:80]),
                ),
                Sentence("unsafe-save-model-again", "Save the model again."),
            )
    return sorted({_require(safe, place) for place in places.values()})


def _require(safe: SafeFolder, name: str) -> str:
    if name not in safe.files:
        raise UnsafeModel(
            Sentence("unsafe-lacks", "it lacks %(name)s.", name=name),
            Sentence("unsafe-put-back-save-model", "Put it back or save the model again."),
        )
    return name


def _check_index(safe: SafeFolder, found: Mapping[str, Mapping[str, int]]) -> None:
    """Every tensor lies where the index says, where there is one in use."""
    places = {} if WEIGHTS in found else safe.settings[INDEX]["weight_map"]
    for file, tensors in found.items() if places else ():
        if twice := next((name for name in tensors if places.get(name, file) != file), None):
            raise UnsafeModel(
                Sentence(
                    "unsafe-in-two-files",
                    "%(tensor)s stands in %(file)s and, by %(index)s, in %(place)s.",
                    tensor=repr(twice[:80]),
                    file=file,
                    index=INDEX,
                    place=places[twice],
                ),
                Sentence("unsafe-save-model-again", "Save the model again."),
            )
    for tensor, place in places.items():
        if tensor not in found[place]:
            raise UnsafeModel(
                Sentence(
                    "unsafe-looks-for-lacks",
                    "%(index)s looks for %(tensor)s in %(place)s, which lacks it.",
                    index=INDEX,
                    tensor=repr(tensor[:80]),
                    place=place,
                ),
                Sentence("unsafe-save-model-again", "Save the model again."),
            )
