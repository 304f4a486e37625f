"""Each stage killed at five random steps, through the service: is the model bit-equal to the one left alone?

    python -m tests.journey.kill_stages [--kills 5] [--seed 0]

Real dispatcher, launchers, checkpoints and Postgres; a tiny model with dropout. The victim is the process of the
stage and the launcher in turn. Prints a line a stage; exits 1 unless all weights are equal. Some minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from typing import Any

import psutil

from tests.journey.rig import PPO, Rig, launcher_of

STEPS = 120  # of each stage, about


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("RANKLOOP_EXECUTOR", "process")
    chance, equal = random.Random(options.seed), []
    with Rig() as rig:
        reward: dict[str, Any] = {}
        for stage in ("sft", "reward", "ppo"):
            config, inputs = settings(stage, rig, reward)
            calm = rig.job(stage, config, **inputs)
            total = rig.wait(calm)["progress"]["total"]
            if stage == "reward":
                reward = {"reward_model": {"job": calm}}
            killed = rig.job(stage, config, **inputs)
            steps = sorted(chance.sample(range(2, total * 2 // 3), options.kills))
            kill_at(rig, killed, steps)
            attempts = rig.get(f"/v1/jobs/{killed}/attempts")
            same = rig.weights(calm) == rig.weights(killed)
            equal.append(same)
            print(f"{stage}: killed at {steps} of {total}, {len(attempts)} attempts: {verdict(same)}", flush=True)
    return 0 if all(equal) else 1


def settings(stage: str, rig: Rig, reward: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if stage == "sft":
        return {"epochs": STEPS / 8}, {"demonstrations": rig.data["demonstrations"]}
    if stage == "reward":
        return {"epochs": STEPS / 8, "heldout_fraction": 0.1}, {"rankings": rig.data["rankings"]}
    data = {"prompts": rig.data["rankings"], "pretraining": rig.data["demonstrations"]}
    return PPO | {"updates": STEPS, "ptx_coef": 0.5}, data | reward


def kill_at(rig: Rig, job: str, steps: list[int]) -> None:
    """SIGKILL at each of the steps, the stage's process and its launcher in turn; then to the end."""
    for number, step in enumerate(steps):
        launcher = at_work(rig, job, step)
        stage = launcher.children()
        victim = stage[0] if stage and number % 2 == 0 else launcher
        victim.kill()
        psutil.wait_procs([victim], timeout=10)
    rig.wait(job)


def at_work(rig: Rig, job: str, step: int) -> psutil.Process:
    """The launcher of an attempt that has come to `step`. After a kill the row speaks of the dead one for a moment."""
    while True:
        row = rig.wait(job, step=step)
        assert row["state"] == "running", f"the job ended before step {step}: {row['state']}"
        if launcher := launcher_of(job):
            return launcher


def verdict(same: bool) -> str:
    return "the weights are bit-equal to those of the run left alone" if same else "THE WEIGHTS DIFFER"


if __name__ == "__main__":
    sys.exit(main())
