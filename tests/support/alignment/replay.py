"""What a CUDA graph does, on a CPU: the operations of one step, done again at the same addresses, no Python between.

What a step took from Python when it was captured (a number, a shape, which tensor) is what it has ever after; what it
reads from a tensor is read anew. So a step that hangs on more than its tensors comes out wrong here, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from alignment.rollout.graphs import Graphs


class Recording(TorchDispatchMode):
    """The operations inside, which are done; `replay` does them again."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket is not torch.ops.aten._local_scalar_dense, "the host asks for a number"
        found = func(*args, **(kwargs or {}))
        self._done.append((func, args, kwargs or {}, found))
        return found

    def replay(self) -> None:
        for func, args, kwargs, found in self._done:
            if func._schema.is_mutable:
                func(*args, **kwargs)
            elif not any(_shares(tensor, (args, kwargs)) for tensor in _tensors(found)):  # a view is what it is of
                for old, new in zip(_tensors(found), _tensors(func(*args, **kwargs)), strict=True):
                    old.copy_(new)


class Replayed(Graphs):
    """In place of graphs: each shape's first step as it comes, then its recording. `state`: what steps write."""

    def __init__(self, state: Callable[[], list[Tensor]]) -> None:
        super().__init__(wanted=False)
        self._state, self._recordings = state, dict[Hashable, Recording]()
        self.replays = 0

    def __len__(self) -> int:
        return len(self._recordings)

    def run(self, shape: Hashable, step: Callable[[], None]) -> None:
        if shape in self._recordings:
            self.replays += 1
            return self._recordings[shape].replay()
        step()
        kept = [tensor.clone() for tensor in self._state()]
        with (recording := Recording()):
            step()
        for tensor, value in zip(self._state(), kept, strict=True):  # a capture does nothing
            tensor.copy_(value)
        self._recordings[shape] = recording
        return None


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))


def _shares(tensor: Tensor, inputs: Any) -> bool:
    """Whether it lies in the memory of one of them."""
    own = tensor.untyped_storage().data_ptr()
    return any(own == other.untyped_storage().data_ptr() for other in _tensors(inputs))
