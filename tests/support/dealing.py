"""Which worker runs which test, when several run them (`make test`; pytest-xdist).

A worker has a database server of its own, and makes what the tests of a file share once. So a file's tests stay
together; and all that start a Ray do, because two at a time only hinder each other.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadGroupScheduling

LONG = ("ray", "browser", "slow")


class ByFile(LoadGroupScheduling):
    """Files and groups are dealt out whole, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        group: str = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if group == nodeid else group


def arrange(items: list[pytest.Item]) -> None:
    """Group what belongs together. What starts a Ray first, which is the longest piece of all, then files with long
    tests, so that none of them is begun last.

    Raises UsageError for a deep test that does not say why it is rarely needed.
    """
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
        if any(not mark.kwargs.get("reason") for mark in item.iter_markers("deep")):
            raise pytest.UsageError(f"{item.nodeid} is deep without a reason")
    long = {item.path for item in items if any(map(item.get_closest_marker, LONG))}
    items.sort(key=lambda item: (item.get_closest_marker("ray") is None, item.path not in long))
