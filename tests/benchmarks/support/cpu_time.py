"""Which tests take most, in processor time, which a busy machine does not stretch as it does the clock's.

    make test PYTEST_OPTIONS="-p tests.benchmarks.support.cpu_time"

Counted are a test with its set-up and what its processes used that have ended. A Postgres or Ray that goes on is not.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

SHOWN = 40
USED = "cpu_seconds"


def used() -> float:
    """Processor seconds of this process and of its children that have ended."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    before = used()
    item.user_properties.append((USED, before))  # of a worker, too, reports carry it to where they are shown
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    began = dict(item.user_properties)[USED]
    report.user_properties = [(USED, used() - began)]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for found in terminalreporter.stats.values() for each in found if hasattr(each, "user_properties")]
    seconds: dict[str, float] = {}
    for report in reports:
        seconds[report.nodeid] = max(seconds.get(report.nodeid, 0.0), dict(report.user_properties).get(USED, 0.0))
    terminalreporter.section(f"{sum(seconds.values()):.0f} CPU seconds")
    for name in sorted(seconds, key=lambda name: -seconds[name])[:SHOWN]:
        terminalreporter.write_line(f"{seconds[name]:8.1f}  {name}")
