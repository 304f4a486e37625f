"""A project with planted people: careful ones, and one of each kind that the quality desk is to find.

Responses have a worth and a length; what is better is a little longer. Everybody sees the responses in an order of
their own, as the queue deals them.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from annotation_api.annotation.signals.given import GivenAnswer
from annotation_api.annotation.tasks.contents import display_order

K = 4


@dataclass(frozen=True)
class PlantedTask:
    id: uuid.UUID
    worth: Mapping[str, float]  # by response
    sizes: Mapping[str, int]  # bytes

    @property
    def best_first(self) -> list[str]:
        return sorted(self.worth, key=lambda key: -self.worth[key])


@dataclass(frozen=True)
class PlantedPerson:
    """How somebody judges: `blur` is the deviation of a judgement, where the worths of responses deviate by 1."""

    name: str
    blur: float = 0.4
    place: float = 0.0  # what each place nearer to the top seems to add
    length: float = 0.0  # what a text twice as long seems to add
    worth: float = 1.0  # how much of the worth is seen
    seconds: float = 40.0  # the median
    copies: str | None = None  # answers as this person does

    def rank(self, task: PlantedTask, shown: Sequence[str], seed: str) -> list[str]:
        """Best first. Two who copy share one look at the task."""
        rng = random.Random(f"{seed} {self.copies or self.name} {task.id}")
        noise = {key: rng.gauss(0, self.blur) for key in sorted(shown)}
        return sorted(shown, key=lambda key: -self._seems(task, key, shown.index(key)) - noise[key])

    def _seems(self, task: PlantedTask, key: str, place: int) -> float:
        return self.worth * task.worth[key] + self.length * math.log2(task.sizes[key]) - self.place * place

    def takes(self, rng: random.Random) -> float:
        """Seconds at work on a task."""
        return self.seconds * math.exp(rng.gauss(0, 0.5))


HONEST = tuple(PlantedPerson(f"careful {number}", blur) for number, blur in enumerate((0.3, 0.4, 0.5, 0.6)))
PLANTED = (
    PlantedPerson("hasty", 0.9, seconds=3.0),
    PlantedPerson("length-lover", 0.1, length=4.0, worth=0.2),
    PlantedPerson("position-biased", 0.4, place=1.0),
    PlantedPerson("random", 0.4, worth=0.0),
    PlantedPerson("colluder", 0.9, copies="colluder's friend"),
    PlantedPerson("colluder's friend", 0.9),
)
# By which signal each is to be found; the random one by gold items, and by standing apart from all others.
FOUND_BY = {
    "hasty": {"speed"},
    "length-lover": {"length"},
    "position-biased": {"position", "straight"},
    "random": {"apart"},
    "colluder": {"pair"},
    "colluder's friend": {"pair"},
}


def tasks(seed: int, count: int) -> list[PlantedTask]:
    rng = random.Random(f"tasks {seed}")
    return [_task(rng) for _ in range(count)]


def _task(rng: random.Random) -> PlantedTask:
    keys = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(K)]
    worth = {key: rng.gauss(0, 1) for key in keys}
    sizes = {key: round(300 * math.exp(0.15 * worth[key] + 0.4 * rng.gauss(0, 1))) for key in keys}
    return PlantedTask(uuid.UUID(int=rng.getrandbits(128)), worth, sizes)


def answers(
    people: Sequence[PlantedPerson], seed: int, count: int
) -> Iterator[tuple[PlantedPerson, list[GivenAnswer]]]:
    """Each person's answers to the same tasks, oldest first."""
    planted, rng = tasks(seed, count), random.Random(f"turns {seed}")
    turns = {task.id: rng.sample(range(len(people)), len(people)) for task in planted}
    for number, person in enumerate(people):
        key = uuid.uuid5(uuid.NAMESPACE_OID, person.name)
        yield person, [_answer(person, key, task, turns[task.id][number], f"{seed}") for task in planted]


def _answer(person: PlantedPerson, key: uuid.UUID, task: PlantedTask, turn: int, seed: str) -> GivenAnswer:
    shown = display_order(task.id, list(task.worth), turn)
    order = person.rank(task, shown, seed)
    lengths = tuple(task.sizes[each] for each in shown)
    rng = random.Random(f"{seed} {person.name} {task.id} time")
    submission = uuid.uuid5(task.id, person.name)
    ranks = tuple(order.index(each) for each in shown)
    return GivenAnswer(
        submission, task.id, key, tuple(shown), ranks, "", "", lengths, sum(lengths) + 80, person.takes(rng)
    )
