"""Whether the system ended a process because memory ran out: the process itself cannot say."""

from __future__ import annotations

from pathlib import Path

VMSTAT = Path("/proc/vmstat")


class OutOfMemoryWatch:
    """Counts the processes of this machine that Linux ended for want of memory; elsewhere it sees none."""

    def __init__(self, counters: Path = VMSTAT) -> None:
        self._counters = counters
        self._seen = self._count()

    def check(self) -> None:
        """All is well: what was counted up to now is none of ours."""
        self._seen = self._count()

    def struck(self) -> bool:
        """Whether it happened since the last look."""
        return self._count() > self._seen

    def _count(self) -> int:
        if not self._counters.exists():
            return 0
        lines = (line.split() for line in self._counters.read_text().splitlines())
        return next((int(number) for name, number in lines if name == "oom_kill"), 0)
