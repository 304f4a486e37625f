"""The rules of quality of one project, changed by two people at once."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.annotation.gold import service
from annotation_api.annotation.gold.schemas import QualityRulesPatch
from annotation_api.db.tables import Person, QualityRules, Role
from tests.support.databases import is_waited
from tests.support.engine_room import poll


def test_two_who_set_the_first_rules_at_once_both_do(fresh_engine: Engine, factory: Any) -> None:
    with Session(fresh_engine) as session:
        make = factory(session)
        project, owner = make.project().id, make.person(Role.ENGINEER).id
        session.commit()

    def set_rules(session: Session, **rules: float) -> uuid.UUID:
        patch = QualityRulesPatch.model_validate(rules)
        return service.change_rules(session, session.get_one(Person, owner), project, patch).project_id

    def second() -> None:
        with Session(fresh_engine) as session, session.begin():
            set_rules(session, gold_rate=0.1)

    with Session(fresh_engine) as first, ThreadPoolExecutor(1) as pool:
        set_rules(first, bar=0.7)
        waiting = pool.submit(second)
        poll(lambda: is_waited(fresh_engine), "the second to wait for the first")
        first.commit()
        waiting.result()
    with Session(fresh_engine) as session:
        kept = session.get_one(QualityRules, project)
        assert (kept.bar, kept.gold_rate) == (0.7, 0.1)
