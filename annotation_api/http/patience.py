"""A client's patience: a service that is busy says when to come again, and changed nothing.

httpx.Client(base_url=..., transport=Patient())
"""

from __future__ import annotations

import time

import httpx

TRIES = 10
MOST_SECONDS = 2  # longer waits are for the caller to decide on


class Patient(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer; a 503 that names its seconds is waited for. What is streamed, a file, is sent once."""
        for _ in range(TRIES - 1):
            answer = super().handle_request(request)
            seconds = answer.headers.get("retry-after", "")
            again = answer.status_code == 503 and seconds.isdigit() and int(seconds) <= MOST_SECONDS
            if not again or not isinstance(request.stream, httpx.ByteStream):
                return answer
            answer.close()
            time.sleep(int(seconds))
        return super().handle_request(request)
