"""/v1/datasets and /v1/snapshots on a real Postgres: whole or not at all, counted, browsed, frozen, exported."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.records import Ranking, sha256_text, split_of
from annotation_api.datasets import queries, service
from annotation_api.db.tables import Dataset, DatasetRow, Role

As = Callable[..., TestClient]
PAIRS = [{"prompt": f"Q{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(1, 6)]


def lines(rows: list[Any]) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def upload(client: TestClient, data: bytes, headers: dict[str, str] | None = None, **fields: str) -> Any:
    form = {"kind": "preferences", **fields}
    return client.post("/v1/datasets", files={"file": ("pairs.jsonl", data)}, data=form, headers=headers)


def test_a_good_file_is_stored_whole(as_: As, session: Session) -> None:
    engineer = as_(Role.ENGINEER)
    answer = upload(engineer, gzip.compress(lines([*PAIRS, PAIRS[0]])))
    assert answer.status_code == 201, answer.text
    report = answer.json()
    counts = {name: report[name] for name in ("accepted", "duplicates", "rejected", "errors", "format", "kind")}
    assert counts == {
        "accepted": 5, "duplicates": 1, "rejected": 0, "errors": [], "format": "trl", "kind": "preferences",
    }  # fmt: skip
    assert answer.headers["location"] == f"/v1/datasets/{report['dataset']}"
    shown = engineer.get(answer.headers["location"]).json()
    assert (shown["name"], shown["accepted"], shown["duplicates"], shown["rejected"]) == ("pairs.jsonl", 5, 1, 0)
    rows = session.scalars(select(DatasetRow).where(DatasetRow.dataset_id == uuid.UUID(report["dataset"]))).all()
    assert sorted(row.row for row in rows) == [1, 2, 3, 4, 5]
    record = Ranking.model_validate_json(json.dumps(rows[0].record))
    assert rows[0].record_hash == sha256_text(record.canonical())


BAD = [PAIRS[0], {"prompt": "Q?", "chosen": "x"}, "{broken", PAIRS[1]]


def test_a_bad_row_stores_nothing_and_is_named(as_: As, session: Session) -> None:
    answer = upload(as_(Role.ENGINEER), lines(BAD))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    report = answer.json()
    assert (report["type"], report["dataset"]) == ("urn:rankloop:rows-refused", None)
    assert (report["accepted"], report["duplicates"], report["rejected"]) == (2, 0, 2)
    assert [(e["row"], e["field"]) for e in report["errors"]] == [(2, "rejected"), (3, "")]
    assert session.scalar(select(func.count()).select_from(Dataset)) == 0
    assert session.scalar(select(func.count()).select_from(DatasetRow)) == 0


def test_bad_rows_are_skipped_when_asked(as_: As, session: Session) -> None:
    answer = upload(as_(Role.ENGINEER), lines(BAD), skip_bad="true")
    assert answer.status_code == 201
    assert (answer.json()["accepted"], answer.json()["rejected"], len(answer.json()["errors"])) == (2, 2, 2)
    assert sorted(session.scalars(select(DatasetRow.row))) == [1, 4]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no row"),
        (gzip.compress(lines(PAIRS))[:-5], "cut short"),
        (lines([{"prompt": "Q?", "chosen": "x", "rejected": ""}]), "no row is left"),
    ],
)
def test_a_file_that_cannot_be_read_to_its_end_is_never_skipped_over(
    as_: As, session: Session, data: bytes, why: str
) -> None:
    answer = upload(as_(Role.ENGINEER), data, skip_bad="true")
    assert answer.status_code == 422
    assert why in answer.json()["detail"]
    assert session.scalar(select(func.count()).select_from(Dataset)) == 0


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [({"kind": "poems"}, "/kind"), ({"format": "xml"}, "/format"), ({"project": "nobody's"}, "/project")],
)
def test_a_wrong_field_is_named(as_: As, fields: dict[str, str], pointer: str) -> None:
    answer = upload(as_(Role.ENGINEER), lines(PAIRS), **fields)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_project_is_found_by_name_or_id(as_: As, make: Any) -> None:
    project, engineer = make.project(name="Birds"), as_(Role.ENGINEER)
    for name in ("Birds", str(project.id)):
        assert upload(engineer, lines(PAIRS), project=name).status_code == 201
    listed = engineer.get("/v1/datasets", params={"project": str(project.id)}).json()["items"]
    assert [row["project_id"] for row in listed] == [str(project.id)] * 2


def test_the_same_upload_with_one_key_is_one_data_set(as_: As, session: Session) -> None:
    engineer, key = as_(Role.ENGINEER), {"Idempotency-Key": "once"}
    first = upload(engineer, lines(PAIRS), key)
    again = upload(engineer, lines(PAIRS), key)
    assert first.json() == again.json()
    assert session.scalar(select(func.count()).select_from(Dataset)) == 1
    assert upload(engineer, lines(PAIRS[:2]), key).status_code == 422
    assert upload(engineer, lines(PAIRS), key, kind="rankings").status_code == 422


def test_rows_are_browsed_page_by_page(as_: As) -> None:
    engineer = as_(Role.ENGINEER)
    key = upload(engineer, lines(PAIRS)).json()["dataset"]
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = engineer.get(f"/v1/datasets/{key}/rows", params=query).json()
        seen += [row["row"] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [1, 2, 3, 4, 5]
    assert engineer.get(f"/v1/datasets/{uuid.uuid4()}/rows").status_code == 404
    assert engineer.get(f"/v1/datasets/{key}/rows", params={"cursor": "x"}).status_code == 422


@pytest.mark.parametrize("role", [Role.ANNOTATOR, Role.REVIEWER])
def test_data_are_for_engineers(as_: As, role: Role) -> None:
    client = as_(role)
    assert upload(client, lines(PAIRS)).status_code == 403
    assert client.get("/v1/datasets").status_code == 403


def preview(client: TestClient, data: bytes, **fields: str) -> Any:
    form = {"kind": "preferences", **fields}
    return client.post("/v1/datasets:preview", files={"file": ("pairs.jsonl", data)}, data=form)


def test_a_preview_is_the_report_and_the_first_records(as_: As, session: Session) -> None:
    many = [{"prompt": f"Q{i}?", "chosen": "yes", "rejected": "no"} for i in range(30)]
    answer = preview(as_(Role.ENGINEER), lines([*many[:2], "{broken", *many]))
    assert answer.status_code == 200
    seen = answer.json()
    counts = [seen[name] for name in ("dataset", "accepted", "duplicates", "rejected", "broken", "format")]
    assert counts == [None, 30, 2, 1, False, "trl"]
    assert [record["row"] for record in seen["records"]] == [1, 2, *range(6, 24)]
    assert Ranking.model_validate_json(json.dumps(seen["records"][0]["record"])).responses == ("yes", "no")
    assert session.scalar(select(func.count()).select_from(Dataset)) == 0


def test_a_preview_of_long_records_shows_few_of_them(as_: As) -> None:
    long = [{"prompt": f"Q{i}?", "chosen": "y" * 600_000, "rejected": "no"} for i in range(4)]
    assert len(preview(as_(Role.ENGINEER), lines(long)).json()["records"]) == 1


def test_a_preview_says_when_a_file_cannot_be_read_on(as_: As) -> None:
    seen = preview(as_(Role.ENGINEER), gzip.compress(lines(PAIRS))[:-5]).json()
    assert seen["broken"]
    assert "cut short" in seen["errors"][-1]["message"]


@pytest.mark.parametrize("kind", ["answers", "verdicts"])
def test_what_is_collected_here_is_never_imported(as_: As, kind: str) -> None:
    for send in (upload, preview):
        answer = send(as_(Role.ENGINEER), lines(PAIRS), kind=kind)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/kind"
        assert f"{kind.capitalize()} are collected in projects and never imported" in answer.json()["detail"]


def test_an_import_tells_how_far_it_is(as_: As, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only to the one whose import it is, and only while it runs."""
    erin = person(Role.ENGINEER)
    engineer, other = as_(erin), as_(Role.ENGINEER)
    seen: list[Any] = []

    def looking(*arguments: Any, **named: Any) -> Any:
        for item in original(*arguments, **named):
            if item.row == 5:
                seen.extend(client.get("/v1/imports/my-key").json() for client in (engineer, other))
            yield item

    original = service.Reading.__iter__
    monkeypatch.setattr(service.Reading, "__iter__", looking)
    data = lines(PAIRS)
    assert upload(engineer, data, {"Idempotency-Key": "my-key"}).status_code == 201
    assert (seen[0]["bytes"], seen[0]["total"], seen[1]) == (len(data), len(data), None)
    assert engineer.get("/v1/imports/my-key").json() is None


def test_records_are_written_in_batches_of_bounded_size(
    as_: As, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows, size in ((2, 10**9), (1000, 200)):
        monkeypatch.setattr(service, "INSERT_BATCH", rows)
        monkeypatch.setattr(service, "INSERT_SIZE", size)
        key = upload(as_(Role.ENGINEER), lines(PAIRS)).json()["dataset"]
        stored = session.scalars(select(DatasetRow.row).where(DatasetRow.dataset_id == uuid.UUID(key)))
        assert sorted(stored) == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- snapshots and exports


@pytest.fixture
def snapshot(as_: As) -> tuple[TestClient, dict[str, Any]]:
    """Three rankings: a pair, a list of three with a tie, and one that is all a tie."""
    records = [
        {"prompt": {"messages": [{"role": "user", "content": "Pair?"}]}, "responses": ["a", "b"], "groups": [[1], [0]]},
        {
            "prompt": {"messages": [{"role": "user", "content": "List?"}]},
            "responses": ["a", "b", "c"],
            "groups": [[0], [1, 2]],
            "strength": 3,
        },
        {"prompt": {"messages": [{"role": "user", "content": "Tie?"}]}, "responses": ["a", "b"], "groups": [[0, 1]]},
    ]
    engineer = as_(Role.ENGINEER)
    dataset = upload(engineer, lines(records), kind="rankings").json()["dataset"]
    answer = engineer.post("/v1/snapshots", json={"kind": "rankings", "dataset": dataset})
    assert answer.status_code == 201, answer.text
    return engineer, answer.json()


def export(client: TestClient, key: str, format: str) -> bytes:
    answer = client.get(f"/v1/snapshots/{key}/export", params={"format": format})
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    return answer.content


def test_a_snapshot_exports_the_very_lines_of_its_hash(snapshot: tuple[TestClient, dict[str, Any]]) -> None:
    client, row = snapshot
    data = export(client, row["id"], "jsonl")
    assert sha256_text(data.decode()) == row["sha256"]
    assert len(data.splitlines()) == row["rows"] == 3
    assert client.get(f"/v1/snapshots/{row['id']}").json()["sha256"] == row["sha256"]


def test_lines_are_read_in_batches_of_bounded_size(
    snapshot: tuple[TestClient, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, row = snapshot
    whole = export(client, row["id"], "jsonl")
    for lines_at_once, size in ((2, 10**9), (1000, 1)):
        monkeypatch.setattr(queries, "EXPORT_BATCH", lines_at_once)
        monkeypatch.setattr(queries, "EXPORT_BYTES", size)
        assert export(client, row["id"], "jsonl") == whole


def test_trl_columns_are_pairs_that_share_their_rankings_weight(snapshot: tuple[TestClient, dict[str, Any]]) -> None:
    client, row = snapshot
    rows = [json.loads(line) for line in export(client, row["id"], "trl").splitlines()]
    seen = [(r["prompt"][0]["content"], r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows]
    assert seen == [("Pair?", "b", "a"), ("List?", "a", "b"), ("List?", "a", "c")]
    assert [r["weight"] for r in rows] == [1.0, 0.5, 0.5]
    assert [round(r["margin"], 3) for r in rows] == [0.0, 0.667, 0.667]
    assert {r["chosen"][0]["role"] for r in rows} == {"assistant"}
    assert json.loads(rows[0]["lineage"])["row"] == "1"
    prompt = Ranking.from_line(export(client, row["id"], "jsonl").splitlines()[0]).prompt
    assert rows[0]["split"] == split_of(prompt, 0.1)


def test_parquet_holds_the_same_columns(snapshot: tuple[TestClient, dict[str, Any]]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    client, row = snapshot
    table = parquet.read_table(io.BytesIO(export(client, row["id"], "parquet"))).to_pylist()
    assert table == [json.loads(line) for line in export(client, row["id"], "trl").splitlines()]


def test_a_trl_export_can_be_imported_again(snapshot: tuple[TestClient, dict[str, Any]]) -> None:
    client, row = snapshot
    report = upload(client, export(client, row["id"], "trl")).json()
    assert (report["format"], report["accepted"], report["rejected"]) == ("trl", 3, 0)


@pytest.mark.parametrize("kind", ["demonstrations", "prompts"])
def test_other_kinds_export_too(as_: As, kind: str) -> None:
    engineer = as_(Role.ENGINEER)
    row = {"instruction": "Q?", "output": "a"}
    dataset = upload(engineer, lines([row]), kind="demonstrations").json()["dataset"]
    key = engineer.post("/v1/snapshots", json={"kind": kind, "dataset": dataset}).json()["id"]
    (found,) = [json.loads(line) for line in export(engineer, key, "trl").splitlines()]
    assert found["prompt"] == [{"role": "user", "content": "Q?"}]
    assert ("completion" in found) == (kind == "demonstrations")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "rankings"}, "/"),
        ({"kind": "rankings", "dataset": str(uuid.uuid4())}, "/dataset"),
        ({"kind": "rankings", "project": str(uuid.uuid4())}, "/project"),
        ({"kind": "rankings", "datset": str(uuid.uuid4())}, "/datset"),
    ],
)
def test_a_snapshot_of_nothing_is_refused(as_: As, body: dict[str, str], pointer: str) -> None:
    answer = as_(Role.ENGINEER).post("/v1/snapshots", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_snapshot_needs_data_of_its_kind(as_: As) -> None:
    engineer = as_(Role.ENGINEER)
    dataset = upload(engineer, lines(PAIRS)).json()["dataset"]
    answer = engineer.post("/v1/snapshots", json={"kind": "demonstrations", "dataset": dataset})
    assert answer.status_code == 422
    assert "preferences" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\u202eb", "a b"),
        ("a\x1b[31mb\nc", "a [31mb c"),
        ("\u200b ", "upload"),
        ("x" * 300, "x" * 200),
        ("é 树", "é 树"),
    ],
)
def test_the_name_of_a_file_stands_on_one_line(as_: As, given: str, kept: str) -> None:
    engineer = as_(Role.ENGINEER)
    made = upload(engineer, lines(PAIRS[:1]), name=given).json()
    assert engineer.get(f"/v1/datasets/{made['dataset']}").json()["name"] == kept
