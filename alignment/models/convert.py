"""Pickled weights to safetensors: the one place where a .bin file is opened, in a process that can do little else.

    python -m alignment convert FOLDER NEW_FOLDER

OPT, GPT-J, CodeGen and others come from the hub as pytorch_model.bin only, a pickle, which can run code when it is
opened. torch's `weights_only` unpickler makes tensors and nothing else; the process beside it has no network where the
kernel allows that to be taken away, limits on memory, time and files, and nobody's secrets in its environment.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alignment.shared.errors import BadInput, StageError
from alignment.shared.sentence import Sentence
from alignment.untrusted import folder as safe_folder
from alignment.untrusted.files import UnsafeModel, read_limited, require_regular
from alignment.untrusted.weight_files import open_weights

SINGLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
MAX_BYTES = 2**41
SECONDS = 4 * 3600
SPARE_BYTES = 32 * 2**30  # of addresses beside the file: the libraries of a CUDA build alone take ten
NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER


def convert(source: Path, target: Path) -> Path:
    """The folder `source` as a new one with the same files and its weights as safetensors; it appears whole.

    Raises BadInput.
    """
    if target.exists():
        raise _bad(
            Sentence("target-exists", "%(target)s exists already and is never overwritten.", target=target),
            Sentence("choose-new-folder", "Choose a new folder."),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        try:
            safe = safe_folder.inspect(source)
            pickles = _pickles(source)
            for name, path in safe.files.items():
                if not name.endswith(".safetensors") and name != safe_folder.INDEX:
                    shutil.copyfile(path, made / name)
            places: dict[str, str] = {}
            for number, path in enumerate(pickles, start=1):
                name = f"model-{number:05}-of-{len(pickles):05}.safetensors"
                places |= dict.fromkeys(_in_a_process_of_its_own(path, made / name), name)
            index = {"metadata": {}, "weight_map": places}
            (made / safe_folder.INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
            with ExitStack() as descriptors:
                open_weights(safe_folder.inspect(made), descriptors)
        except UnsafeModel as error:
            raise _bad(
                Sentence(
                    "cannot-convert", "%(source)s cannot be converted: %(cause)s", source=source, cause=error.cause
                ),
                error.next_step,
            ) from error
        made.rename(target)
    return target


def _pickles(folder: Path) -> list[Path]:
    """The files that hold the weights, each a regular file below a limit."""
    names = [SINGLE]
    if (folder / INDEX).exists():
        index = json.loads(read_limited(folder / INDEX, safe_folder.MAX_BYTES[".json"]))
        names = sorted({str(name) for name in index.get("weight_map", {}).values()})
        if not names or not all(safe_folder.plain_name(name) and name.endswith(".bin") for name in names):
            raise UnsafeModel(
                Sentence(
                    "unsafe-names-other-files-than",
                    "%(index)s names other files than .bin files beside it.",
                    index=INDEX,
                ),
                Sentence("unsafe-download-model-again", "Download the model again."),
            )
    elif not (folder / SINGLE).exists():
        raise UnsafeModel(
            Sentence("unsafe-not-to-convert", "it has no %(single)s and no %(index)s.", single=SINGLE, index=INDEX),
            Sentence("unsafe-only-such-weights-are", "Only such weights are converted."),
        )
    paths = [Path(os.path.realpath(folder / name)) for name in names]
    for path in paths:
        require_regular(path, MAX_BYTES)
    return paths


def _in_a_process_of_its_own(source: Path, target: Path) -> list[str]:
    """Convert one file; the names of its tensors."""
    size = source.stat().st_size
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-m", "alignment.models.convert", str(source.absolute()), str(target.absolute())]
    ran = subprocess.run(
        command,
        env={**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: _limit(size),
        timeout=SECONDS,
        check=False,
    )
    if ran.returncode:
        told = (ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"])[-1][:300]
        raise UnsafeModel(
            Sentence(
                "unsafe-holds-something-else-than",
                "%(file)s holds something else than tensors: %(told)s.",
                file=source.name,
                told=told,
            ),
            Sentence("unsafe-download-again", "Download it again."),
        )
    names: list[str] = json.loads(ran.stdout)
    return names


def _limit(size: int) -> None:
    """Run in the child before anything else."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (3 * size + SPARE_BYTES, 3 * size + SPARE_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + 2**20, 2 * size + 2**20))
    # Where the kernel does not let a user do this, the unpickler alone is what keeps code from running.
    if sys.platform == "linux":
        ctypes.CDLL(None).unshare(NEW_USER | NEW_NETWORK)


def _write(source: Path, target: Path) -> list[str]:
    """In the child: the tensors of a pickle as safetensors."""
    import torch
    from safetensors.torch import save_file

    state: Any = torch.load(source, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError("it is no table of tensors")
    # Copies: a format without pointers cannot say that two tensors are one, as tied embeddings are.
    tensors = {str(name): value.detach().clone().contiguous() for name, value in state.items()}
    save_file(tensors, target, metadata={"format": "pt"})
    return sorted(tensors)


def _bad(cause: str, next_step: str) -> StageError:
    return BadInput(cause, next_step)


if __name__ == "__main__":
    print(json.dumps(_write(Path(sys.argv[1]), Path(sys.argv[2]))))
