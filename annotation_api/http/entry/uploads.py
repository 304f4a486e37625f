"""Files on their way to the disk: few at a time, and each only when there is room for all of it.

Together MOST files of at most MAX_UPLOAD_BYTES: what uploads can fill of the disk has a bound. A place is held until
the file is imported, so imports, which hold a transaction for minutes, leave most slots to others.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from alignment.shared.sentence import Sentence
from annotation_api.http import metrics
from annotation_api.http.entry.slots import busy
from annotation_api.http.errors import ApiError

MAX_UPLOAD_BYTES = 2 * 2**30
MOST = 4
OF_A_PERSON = 2
SPARE = 256 * 2**20  # bytes of the disk that no upload takes
RATE = 64 * 2**20  # bytes a second of all uploads: what comes faster takes the event loop and the disk from all others
RETRY_SECONDS = 10


class Uploads:
    def __init__(self, most: int = MOST, of_a_person: int = OF_A_PERSON) -> None:
        self.most, self.of_a_person = most, of_a_person
        self._people: Counter[uuid.UUID] = Counter()
        self._promised = 0
        self._paid_until = 0.0  # on the event loop's clock: by then what came will have been worth its time

    @contextmanager
    def place(self, person: uuid.UUID, size: int = 0) -> Iterator[None]:
        """A place for a file of that size. Raises ApiError 429 or 503 when there is none, 507 without room."""
        self._admit(person, size)
        self._count(person, 1, size)
        try:
            yield
        finally:
            self._count(person, -1, -size)

    async def pace(self, size: int) -> None:
        """Wait until so many bytes more are within RATE."""
        now = asyncio.get_running_loop().time()
        self._paid_until = max(now, self._paid_until) + size / RATE
        await asyncio.sleep(self._paid_until - now)

    def _count(self, person: uuid.UUID, places: int, size: int) -> None:
        self._people += Counter({person: places})  # nobody stays who has none
        self._promised += size

    def _admit(self, person: uuid.UUID, size: int) -> None:
        if self._people[person] >= self.of_a_person:
            metrics.SHED.labels("uploads-of-a-person").inc()
            detail = Sentence(
                "sending-already",
                "You are sending %(of_a_person)s files already, the most at a time. Wait until one is done.",
                of_a_person=self.of_a_person,
            )
            raise ApiError(429, "too-many-uploads", detail, headers={"Retry-After": str(RETRY_SECONDS)})
        if self._people.total() >= self.most:
            raise busy("uploads", seconds=RETRY_SECONDS)
        free = shutil.disk_usage(tempfile.gettempdir()).free - self._promised - SPARE
        if size > free:
            detail = Sentence(
                "file-too-large",
                "The file has %(size)s bytes, and the server has room for %(room)s. Nothing was stored.",
                size=size,
                room=max(free, 0),
            )
            raise ApiError(507, "no-space", detail)
