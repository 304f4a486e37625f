"""The card beside a model: YAML that the hub reads, and nothing that is not known."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alignment.shared.config import RewardConfig, Stage
from alignment.shared.events import StageResult
from annotation_api.db.tables import ModelKind, ModelVersion
from workers.attempt import card
from workers.attempt.card import CardFacts, DataFacts

RANKINGS = DataFacts("rankings", "rankings", 1234, "ab" * 32, 7)
METRICS = {"heldout_accuracy": 0.72, "heldout_accuracy_low": 0.69, "heldout_accuracy_high": 0.75, "loss": 0.5}


def written(folder: Path, stage: Stage = Stage.REWARD, **changes: object) -> tuple[dict[str, object], str]:
    facts = {
        "name": "judge | one", "stage": stage, "config": RewardConfig().model_dump(mode="json"),
        "parents": {"model": ("tiny: base", "apache-2.0")}, "data": (RANKINGS,),
    } | changes  # fmt: skip
    result = StageResult(
        "reward", METRICS, {"gate": {"outcome": "accepted", "reasons": ["Few."], "accepted_because": "A try."}}
    )
    card.write(folder, CardFacts(**facts), result)  # type: ignore[arg-type]
    _, head, body = (folder / card.CARD).read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_head_is_the_hubs_and_the_body_tells_rows_annotators_gate_and_settings(tmp_path: Path) -> None:
    head, body = written(tmp_path)
    assert head == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["rankloop", "rlhf", "reward"],
        "base_model": "tiny: base",
        "license": "apache-2.0",
    }
    assert "- rankings: 1,234 rankings, 7 annotators, SHA-256 `" in body
    assert "| heldout accuracy | 0.72 | 0.69 to 0.75 |" in body
    assert "heldout accuracy low" not in body
    assert "- Used all the same, because: A try." in body
    assert "| `learning_rate` | 9e-06 |" in body
    assert "| `lora` | unset |" in body


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    head, body = written(tmp_path, parents={"model": ("a", "mit"), "reward_model": ("b", "apache-2.0")})
    assert "license" not in head  # two that differ: neither is the model's
    head, body = written(tmp_path, parents={"model": ("a\nb|c", None)})
    assert "license" not in head
    assert "- model: a b\\|c (no licence given)" in body


def test_sampling_leaves_no_card(tmp_path: Path) -> None:
    card.write(tmp_path, CardFacts("s", Stage.SAMPLE, {}, {}, ()), StageResult("sample", {}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# x", "apache-2.0"),
        ("# x\nlicense: mit\n", None),
        ("---\nlicense: [a, b]\n---", None),
        ("", None),
    ],
)
def test_a_licence_is_read_off_the_card_of_the_base(tmp_path: Path, text: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(text)
    row = ModelVersion(name="m", kind=ModelKind.BASE, path=str(tmp_path))
    assert card.licence_of(row) == licence
    assert card.licence_of(ModelVersion(name="m", kind=ModelKind.BASE, path="owner/name")) is None


def test_a_card_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("---\nlicense: stolen\n")
    (tmp_path / "README.md").symlink_to(tmp_path / "secret")
    assert card.licence_of(ModelVersion(name="m", kind=ModelKind.BASE, path=str(tmp_path))) is None
