"""The quality desk on planted truths: who is found after how many answers, and whether the leaderboard is right.

    python -m tests.benchmarks.bench_quality [--seeds 20] [--runs 200]

Ten planted people judge 100 tasks in each world and are looked at every five answers; a false alarm is a signal about a
careful one. The leaderboard's runs each compare four models of known strengths, with ties, on 100 tasks.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from statistics import median_high

import numpy as np

from annotation_api.annotation.signals.service import read_all
from annotation_api.models.leaderboard.davidson import fit
from tests.annotation_api.models.leaderboard.test_davidson import PLANTED as STRENGTHS
from tests.annotation_api.models.leaderboard.test_davidson import played
from tests.support.quality.planted_people import FOUND_BY, HONEST, PLANTED, answers

ANSWERS, EVERY = 100, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    people(options.seeds)
    leaderboard(options.runs)


def people(seeds: int) -> None:
    first: dict[str, list[int]] = defaultdict(list)
    false = looks = 0
    for seed in range(seeds):
        given = dict(answers(HONEST + PLANTED, seed, ANSWERS))
        seen: set[str] = set()
        for count in range(EVERY, ANSWERS + 1, EVERY):
            readings = read_all({own[0].person: own[:count][::-1] for own in given.values()})
            for person, own in given.items():
                raised = {reading.name.value for reading in readings[own[0].person] if reading.raised}
                if person in HONEST:
                    looks, false = looks + 1, false + len(raised)
                elif raised & FOUND_BY[person.name] and person.name not in seen:
                    seen.add(person.name)
                    first[person.name].append(count)
    for name, found in first.items():
        after = f"after {median_high(found)} answers ({max(found)} at most)"
        print(f"{name:18} found in {len(found)} of {seeds} worlds, {after}")
    print(f"false alarms: {false} in {looks} looks at {len(HONEST)} careful people, {seeds} worlds")


def leaderboard(runs: int) -> None:
    chance, orders = np.random.default_rng(0), 0
    covered = np.zeros(len(STRENGTHS))
    for _ in range(runs):
        found = fit(played(chance, 100))
        assert found.low is not None
        assert found.high is not None
        covered += (found.low <= STRENGTHS) & (found.high >= STRENGTHS)
        orders += list(np.argsort(-found.strengths)) == list(range(len(STRENGTHS)))
    shares = ", ".join(f"{100 * share:.1f} %" for share in covered / runs)
    print(f"leaderboard: the planted order in {orders} of {runs} runs; intervals cover each strength in {shares}")


if __name__ == "__main__":
    main()
