"""What can be run, by name; the standard library only: the command line offers it without pydantic."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """What can be run."""

    SFT = "sft"  # supervised fine-tuning on demonstrations
    SAMPLE = "sample"  # responses from a model, as tasks for annotators or as a file
    REWARD = "reward"  # a reward model from rankings
    PPO = "ppo"  # the policy, against the reward model
    PREPARE = "prepare"  # data made fit for training: beside the stages, its work is in workers.preparation
    INSTRUCT = "instruct"  # instructions made from seeds (self-instruct): beside the stages, too, in workers.instruct


# Work on data: it leaves a file that becomes a data set when somebody keeps it, and no model.
ON_DATA = frozenset({Stage.PREPARE, Stage.INSTRUCT})


class Baseline(StrEnum):
    """What can be run beside the stages, to see whether PPO earns its cost: by itself, from the command line alone."""

    RLOO = "rloo"  # the policy, against the reward model, without a critic
    BEST_OF_N = "best-of-n"  # no training: the best of several responses by the reward model
