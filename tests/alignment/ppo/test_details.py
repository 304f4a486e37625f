"""The table of details (details.py) names tests that exist, settings that exist, and every setting."""

import ast
from pathlib import Path

import pytest

from alignment.shared.config import PPOConfig
from tests.alignment.details import ALWAYS, DETAILS, Detail

HERE = Path(__file__).parents[1]


def test_there_are_more_than_forty() -> None:
    assert len(DETAILS) >= 40
    assert len({detail.name for detail in DETAILS}) == len(DETAILS)


@pytest.mark.parametrize("detail", DETAILS, ids=lambda detail: str(detail.name))
def test_each_has_a_test_a_setting_with_a_sentence_and_a_source(detail: Detail) -> None:
    file, _, name = detail.test.partition("::")
    tree = ast.parse((HERE / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert detail.source
    for setting in detail.setting.split(", ") if detail.setting != ALWAYS else ():
        assert PPOConfig.model_fields[setting].description


def test_every_setting_is_among_them() -> None:
    named = {setting for detail in DETAILS for setting in detail.setting.split(", ")}
    assert set(PPOConfig.model_fields) - named == set()
