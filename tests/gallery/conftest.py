"""The gallery of families: six run with every test, one a mechanism, the others where the marker is asked for.

make gallery        all families, and the table in docs/models.md
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

Table = dict[str, dict[str, str]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what carries the marker, unless the run speaks of it."""
    if "gallery" in (config.option.markexpr or ""):
        return
    left = [item for item in items if item.get_closest_marker("gallery")]
    items[:] = [item for item in items if not item.get_closest_marker("gallery")]
    config.hook.pytest_deselected(items=left)


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """Results by family and check; written as a table to the file that GALLERY_TABLE names."""
    rows: Table = {}
    yield rows
    if path := os.environ.get("GALLERY_TABLE"):
        Path(path).write_text(_page(rows))


def _page(rows: Table) -> str:
    from tests.gallery.test_gallery import CHECKS

    head = ["family", "method", *CHECKS]
    lines = [head, ["---"] * len(head)]
    for name in sorted(rows):
        family, method = name.split(" ")
        lines.append([family, method, *(rows[name].get(check, "") for check in CHECKS)])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{INTRODUCTION}\n{body}\n"


INTRODUCTION = """# Base models

Made by `make gallery`: tiny models from each family's own config, float32 on a CPU, against transformers' own numbers.
A number is the largest difference found. "refused" is a refusal by name: that engine does not know the family's
attention. Reward heads marked "ours" are made where the library has no sequence classifier.

What is checked: `logprobs`, padded and packed batches against one sequence at a time without padding; `generate` and
`continuous`, greedy replies of our engines against the library's `generate`, token by token; `scores`, a batch against
one at a time; `ratio`, PPO's before the first step, in other micro-batches than the rollout was recorded in; `sft`, the
loss of the first step against the library's own; `saved`, logits of a model that was saved and loaded back.
"""
