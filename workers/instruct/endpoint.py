"""An endpoint that speaks OpenAI's chat completions, as who answers.

Where it is comes from the service's settings alone: no redirect is followed and no proxy of the environment is asked,
so that a job cannot send its requests elsewhere. The key is never told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from alignment.shared.config import InstructConfig
from alignment.shared.errors import BadInput
from alignment.shared.sentence import Sentence
from alignment.shared.stages import Teacher

TRIES = 5
SECONDS = 120.0  # for one answer
LONGEST_WAIT = 30.0  # seconds between two tries
MOST_BYTES = 2**22  # of an answer
AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})


class Endpoint:
    """Replies to requests, one each, asked for at the same time."""

    def __init__(self, teacher: Teacher, config: InstructConfig, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = config.teacher_model or ""
        self._config, self._sleep = config, sleep
        headers = {"Authorization": f"Bearer {teacher.key.get_secret_value()}"} if teacher.key else {}
        self._url = f"{teacher.url}/chat/completions"
        self._client = httpx.Client(headers=headers, timeout=SECONDS, follow_redirects=False, trust_env=False)

    def __call__(self, requests: Sequence[str], turn: int) -> list[str]:
        with ThreadPoolExecutor(max_workers=self._config.requests) as pool:
            return list(pool.map(self._reply, requests))

    def _reply(self, request: str) -> str:
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": request}],
            "temperature": self._config.temperature,
            "top_p": self._config.top_p,
            "max_tokens": self._config.max_response_length,
        }
        for tried in range(1, TRIES + 1):
            status, answer = self._post(body)
            if status == 200:
                return _said(answer)
            if status not in AGAIN or tried == TRIES:
                raise BadInput(
                    Sentence(
                        "endpoint-failed",
                        "The endpoint %(teacher)s %(status)s.",
                        teacher=self._config.teacher,
                        status=_why(status),
                    ),
                    NEXT,
                )
            self._sleep(min(2.0**tried, LONGEST_WAIT))
        raise AssertionError("the last try returns or raises")

    def _post(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body; status 0: nobody answered."""
        try:
            with self._client.stream("POST", self._url, json=body) as response:
                data = b""
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > MOST_BYTES:
                        raise BadInput(
                            Sentence(
                                "answer-too-long",
                                "An answer is longer than %(most_bytes)s bytes.",
                                most_bytes=MOST_BYTES,
                            ),
                            NEXT,
                        )
                return response.status_code, data
        except httpx.RequestError:  # an answer that cannot be unpacked, too
            return 503, b""


NEXT = Sentence(
    "endpoint-next", "Look at its URL, key and teacher_model, then resume the job: it goes on from its last round."
)


def _why(status: int) -> str:
    if status in AGAIN:
        return f"did not answer {TRIES} times (HTTP {status})"
    return "sends elsewhere, which is not followed" if 300 <= status < 400 else f"refuses the request (HTTP {status})"


def _said(data: bytes) -> str:
    """The first choice's text; empty where it says nothing."""
    try:
        answer = httpx.Response(200, content=data).json()
        content = answer["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        cause = Sentence("answer-not-chat", "The endpoint's answer is not what chat completions look like.")
        raise BadInput(cause, NEXT) from None
    return content if isinstance(content, str) else ""
