"""What a job has noted in English, for a page in another language: a note has no code, so its words are compared."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from alignment.shared import gate
from alignment.shared.config import PPOConfig, Stage
from annotation_api.db.tables import Job, ModelVersion


def notes(session: Session, job: Job) -> dict[str, str]:
    """What the gate says of the job's reward model today, by its English: where that was noted, it can be retold."""
    named = job.inputs.get("reward_model") or {}
    if job.stage is not Stage.PPO or "model" not in named:
        return {}
    model = session.get(ModelVersion, uuid.UUID(named["model"]))
    known = {name: value for name, value in job.config.items() if name in ("gate", "accept_reward_model")}
    config = PPOConfig.model_validate(known)
    decision = gate.decide((model.metrics or None) if model else None, config.gate, config.accept_reward_model)
    return {str(decision.words): decision.words}
