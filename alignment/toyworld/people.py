"""The scripted annotators of the toy world: people of different care, who know the world and rank replies.

They see what a person sees (a prompt and its replies in display order) and answer with a ranking in
which replies of about equal worth tie. None of them is perfect: each misjudges some replies.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from alignment.shared.records import Prompt
from alignment.toyworld.world import World


@dataclass(frozen=True)
class Annotator:
    """A scripted person. The same prompt and replies always get the same ranking from them."""

    world: World
    name: str
    email: str
    slip: float  # how often a reply is misjudged altogether
    blur: float  # deviation of every other judgement
    tie_width: float = 0.08  # replies that seem closer than this are tied
    position_bias: float = 0.0  # what each place nearer to the top seems to add

    def rank(self, prompt: Prompt, responses: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Groups of indices into `responses` (in display order), best first; identical texts tie."""
        rng = random.Random("\n".join([self.email, prompt.key, *responses]))
        seems: dict[str, float] = {}
        for place, text in enumerate(responses):
            seems.setdefault(text, self._judge(prompt, text, rng) - self.position_bias * place)
        return _groups([seems[text] for text in responses], self.tie_width)

    def _judge(self, prompt: Prompt, text: str, rng: random.Random) -> float:
        if rng.random() < self.slip:
            return rng.random()
        return self.world.gold(prompt, text) + rng.gauss(0, self.blur)


def annotators(world: World) -> tuple[Annotator, ...]:
    """The seven people of a world: careful ones, hasty ones, one drawn to what stands first, one careless."""
    mail = "annotators.example"
    return (
        Annotator(world, "Ines Falk", f"ines@{mail}", slip=0.02, blur=0.02),
        Annotator(world, "Joon Park", f"joon@{mail}", slip=0.05, blur=0.05),
        Annotator(world, "Amara Obi", f"amara@{mail}", slip=0.05, blur=0.03, tie_width=0.2),
        Annotator(world, "Lars Holm", f"lars@{mail}", slip=0.10, blur=0.08),
        Annotator(world, "Mei Zhao", f"mei@{mail}", slip=0.08, blur=0.03),
        Annotator(world, "Petra Vogel", f"petra@{mail}", slip=0.05, blur=0.05, position_bias=0.15),
        Annotator(world, "Nils Sorglos", f"nils@{mail}", slip=0.85, blur=0.20),
    )


def _groups(seems: Sequence[float], tie_width: float) -> tuple[tuple[int, ...], ...]:
    """Indices by falling value; a value within `tie_width` of its group's best joins the group."""
    groups: list[list[int]] = []
    for index in sorted(range(len(seems)), key=lambda i: -seems[i]):
        if groups and seems[groups[-1][0]] - seems[index] <= tie_width:
            groups[-1].append(index)
        else:
            groups.append([index])
    return tuple(tuple(group) for group in groups)
