"""Several reward models that score as one: the mean, the worst member, or the mean less its variance.

Where members disagree, a policy can gain score without gaining anything else; the cautious combinations
take that away (Coste et al. 2023, Reward Model Ensembles Help Mitigate Overoptimization, section 3).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

Combine = Literal["mean", "min", "variance"]


@dataclass(frozen=True)
class Ensemble:
    """Frozen members, each with its own weights or as an adapter on one base; `forward.score_rows` scores with it."""

    models: tuple[Any, ...]  # one a member; the same one where members are adapters
    adapters: tuple[str | None, ...]  # the member's adapter; None: the model is the member
    combine: Combine
    variance_coef: float
    means: tuple[float, ...] = ()  # what each adapter's reference answers score; a whole model holds its own

    @property
    def config(self) -> Any:
        """The first member's: all have one architecture."""
        return self.models[0].config

    def parameters(self) -> Any:
        """The first member's."""
        return self.models[0].parameters()


@dataclass(frozen=True)
class EnsembleFile:
    """What `ensemble.json` in an artifact folder says; the members lie in folders beside it."""

    NAME: ClassVar[str] = "ensemble.json"

    members: tuple[str, ...]
    combine: Combine
    variance_coef: float
    adapters: bool  # the members are adapters on the model in `base`

    @classmethod
    def parse(cls, values: dict[str, Any]) -> EnsembleFile:
        """Raises ValueError, KeyError or TypeError for a file that says less or more."""
        if not values["members"]:
            raise ValueError(f"{cls.NAME} names no member")
        return cls(tuple(values.pop("members")), **values)

    def write(self, folder: Path) -> None:
        (folder / self.NAME).write_text(json.dumps(vars(self)) + "\n")


def combine_scores(members: Tensor, how: Combine, variance_coef: float) -> Tensor:
    """Scores `(M, N)` of the members as one `(N,)`: mean, minimum, or mean - coef * variance (eqs. 2 to 4)."""
    if how == "min":
        return members.amin(dim=0)
    if how == "variance":
        return members.mean(dim=0) - variance_coef * members.var(dim=0, unbiased=False)
    return members.mean(dim=0)
