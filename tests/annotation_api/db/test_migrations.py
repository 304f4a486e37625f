"""The migrations build exactly what the tables say, under any circumstances, and guard what was said."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from annotation_api.db import form_rows
from annotation_api.db.engine import DatabaseUnavailable, make_engine
from annotation_api.db.forms import RankingForm, read_form
from annotation_api.db.migrate import NewerDatabase, alembic_config, is_current, upgrade
from annotation_api.db.tables import (
    AgreementSum,
    Base,
    Dataset,
    FeedbackKind,
    JudgedDay,
    PendingJudgement,
    Snapshot,
    Task,
)
from annotation_api.db.tallies.fold import fold

CATALOGUE = """
SELECT 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || ' null:' || (NOT a.attnotnull)
       || ' default:' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ' identity:' || a.attidentity::text
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND c.relname NOT LIKE 'alembic%'
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass
UNION ALL
SELECT 'index', tablename || '.' || indexname, indexdef
  FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
"""


def catalogue(engine: Engine) -> set[tuple[str, ...]]:
    with engine.connect() as connection:
        return {tuple(row) for row in connection.execute(text(CATALOGUE))}


def config_on(connection: Any) -> Config:
    config = alembic_config()
    config.attributes["connection"] = connection
    return config


def move(engine: Engine, revision: str) -> None:
    """Up or down to a level of the tables."""
    with engine.begin() as connection:
        step = command.upgrade if revision == "head" else command.downgrade
        step(config_on(connection), revision)


@pytest.fixture
def bare_engine(fresh_engine: Engine) -> Engine:
    """An empty database: everything is migrated away again, which tries the downgrade too."""
    with fresh_engine.begin() as connection:
        command.downgrade(config_on(connection), "base")
    return fresh_engine


def test_a_downgrade_leaves_nothing(bare_engine: Engine) -> None:
    with bare_engine.connect() as connection:
        left = connection.execute(text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
        assert {name for (name,) in left} <= {"alembic_version", "alembic_version_pkc"}
        functions = connection.execute(text("SELECT 1 FROM pg_proc WHERE pronamespace = 'public'::regnamespace"))
        assert functions.first() is None
    assert not is_current(bare_engine)


def test_migrations_and_tables_build_the_same(engine: Engine, bare_engine: Engine) -> None:
    """Every column, default, constraint and index, as Postgres itself spells them."""
    Base.metadata.create_all(bare_engine)
    assert catalogue(bare_engine) == catalogue(engine)


def test_autogenerate_finds_nothing_to_do(engine: Engine) -> None:
    with engine.connect() as connection:
        command.check(config_on(connection))
    assert is_current(engine)


def test_several_processes_may_migrate_at_once(bare_engine: Engine) -> None:
    url = bare_engine.url.render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))
    assert is_current(bare_engine)


def test_a_database_of_a_later_version_is_refused(fresh_engine: Engine, fresh_database: str) -> None:
    with fresh_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not is_current(fresh_engine)
    with pytest.raises(NewerDatabase, match=r"^The database is at schema 9999, this Rankloop knows up to \d{4}: "):
        upgrade(fresh_database)


def test_the_alembic_command_connects_by_itself(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_database)
    command.check(alembic_config())
    monkeypatch.delenv("RANKLOOP_DATABASE_URL")
    with pytest.raises(SystemExit, match="Set RANKLOOP_DATABASE_URL"):
        command.check(alembic_config())


@pytest.mark.parametrize("table", ["responses", "submissions", "snapshot_rows", "job_events"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_what_was_said_is_never_changed(session: Session, table: str, change: str) -> None:
    column = "line" if table == "snapshot_rows" else "created_at"
    word = change.split()[0]
    with pytest.raises(DBAPIError, match=f"{table} is append-only: {word} is refused"):
        session.execute(text(change.format(table, column, column)))


def test_a_submission_cannot_be_corrected_twice(session: Session, make: Any) -> None:
    task = make.task(make.prompt(make.project()))
    first = make.submission(task, [[0], [1]])
    correct = {"assignment_id": first.assignment_id, "supersedes": first.id}
    make.submission(task, [[1], [0]], **correct)
    with pytest.raises(DBAPIError, match="uq_submissions_supersedes"):
        make.submission(task, [[0, 1]], **correct)


def test_text_outside_ascii_is_sorted_by_code_point_and_kept(engine: Engine) -> None:
    with engine.connect() as connection:
        words = ["z", "ä", "a", "你好", "Z"]
        query = text("SELECT word FROM unnest(:words ::text[]) AS word ORDER BY word")
        assert connection.scalars(query, {"words": words}).all() == sorted(words)
        assert connection.scalar(text("SELECT upper('ä')")) == "Ä"


def test_times_are_utc(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW timezone")) == "UTC"


def test_a_reachable_server_is_needed(tmp_path: Any) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        upgrade(f"postgresql://nobody@/none?host={tmp_path}")
    assert make_engine("postgresql://u:p@h/d").url.password == "p"


def test_what_was_prepared_from_a_project_comes_to_belong_to_it(fresh_engine: Engine, factory: Any) -> None:
    """And what was prepared from that, in turn; what comes from elsewhere stays nobody's."""
    with fresh_engine.begin() as connection:
        command.downgrade(config_on(connection), "0018")
    with Session(fresh_engine) as session:
        project = factory(session).project()
        common = {"kind": "prompts", "created_by": project.created_by}
        first, second, other = (
            Dataset(
                **common, name=name, format="prepared", sha256=name, accepted=1, duplicates=0, rejected=0, origin={}
            )
            for name in ("first", "second", "other")
        )
        session.add_all([first, second, other])
        session.flush()
        for made, sources in (
            (first, {"project": str(project.id)}),
            (second, {"datasets": [str(first.id)]}),
            (other, {"datasets": [str(uuid.uuid4())]}),
        ):
            snapshot = Snapshot(**common, id=uuid.uuid4(), sources=sources, sha256=made.name, rows=1)
            session.add(snapshot)
            made.origin = {"snapshot": str(snapshot.id)}
        session.commit()
        keys = [project.id, first.id, second.id, other.id]
    with fresh_engine.begin() as connection:
        command.upgrade(config_on(connection), "head")
    with Session(fresh_engine) as session:
        assert [session.get_one(Dataset, key).project_id for key in keys[1:]] == [keys[0], keys[0], None]


def test_what_was_judged_is_counted_anew_once(fresh_engine: Engine, factory: Any) -> None:
    """Of two tasks on which two people agree by two criteria, one became gold when its judgements were counted."""
    move(fresh_engine, "0019")
    with Session(fresh_engine) as session:
        make = factory(session)
        project = make.project(forms=[RankingForm(criterion="helpful", apart=("honest",))])
        people = [make.person() for _ in range(2)]
        tasks = [make.task(make.prompt(project, f"{n}?"), overlap=2) for n in range(2)]
        for task in tasks:
            first, second = map(str, make.response_ids(task))
            for person in people:
                make.submission(task, [[0], [1]], person, payload={"apart": {"honest": [[second], [first]]}})
        fold(session)
        tasks[0].gold = True
        session.execute(text("UPDATE agreement_sums SET total = 7, count = 7"))  # as an older formula had it
        session.commit()
    for revision in ("head", "0019", "head"):
        move(fresh_engine, revision)
        with Session(fresh_engine) as session:
            assert len(session.scalars(select(PendingJudgement)).all()) == 4
            fold(session)
            session.commit()
            query = select(AgreementSum.slice, AgreementSum.value, AgreementSum.count)
            query = query.where(AgreementSum.measure == "pairs", AgreementSum.slice.in_(("all", "criterion")))
            counted = {(name, value): count for name, value, count in session.execute(query)}
            assert counted == {("all", ""): 4, ("criterion", "helpful"): 2, ("criterion", "honest"): 2}
            assert sorted(session.scalars(select(JudgedDay.tasks))) == [2, 2]


def test_rankings_are_frozen_anew(fresh_engine: Engine, factory: Any) -> None:
    """Down as up; what is frozen of answers stands."""
    with Session(fresh_engine) as session:
        common = {"sources": {}, "sha256": "0" * 64, "rows": 0, "created_by": factory(session).person().id}
        session.add_all(Snapshot(kind=kind, seen={"at": 1}, **common) for kind in ("rankings", "answers"))
        session.commit()
    for revision in ("0019", "head"):
        move(fresh_engine, revision)
        with Session(fresh_engine) as session:
            frozen = {snapshot.kind.value: snapshot for snapshot in session.scalars(select(Snapshot))}
            assert {kind: snapshot.seen for kind, snapshot in frozen.items()} == {
                "rankings": None,
                "answers": {"at": 1},
            }
            frozen["rankings"].seen = {"at": 2}
            session.commit()


def test_what_was_collected_before_forms_keeps_its_meaning(fresh_engine: Engine) -> None:
    """A project of the first version, judged in part, goes up to today's tables."""
    with fresh_engine.begin() as connection:
        command.downgrade(config_on(connection), "0001")
        connection.execute(
            text(
                """
                INSERT INTO people (id, email, name, role, password_hash, pseudonym)
                VALUES ('00000000-0000-4000-8000-000000000001', 'a@b.c', 'A', 'annotator', '!', 'p');
                INSERT INTO projects (id, name, created_by) SELECT id, 'old', id FROM people;
                INSERT INTO prompts (id, project_id, key, record) SELECT id, id, 'k', '{}' FROM people;
                INSERT INTO tasks (id, project_id, prompt_id, overlap) SELECT id, id, id, 2 FROM people;
                INSERT INTO assignments (id, task_id, person_id, state, display_order, lease_until)
                SELECT id, id, id, 'submitted', '[]', now() FROM people;
                """
            )
        )
        command.upgrade(config_on(connection), "head")
    with Session(fresh_engine) as session:
        task = session.scalars(select(Task)).one()
        form = form_rows.newest_form(session, task.project_id)
        assert form is not None
        assert (task.form_id, task.kind, task.judged) == (form.id, FeedbackKind.RANKING, 1)
        asked = read_form(form.spec)
        assert (asked.kind, asked.flags, asked.demonstration) == ("ranking", (), False)
