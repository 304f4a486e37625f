"""The REST client behind the CLI: finds the service and a key, and turns every failure into one sentence.

`RANKLOOP_URL` and `RANKLOOP_API_KEY` win; otherwise `$RANKLOOP_HOME/credentials.json`, which
`rankloop up` writes, so that a newcomer on the same machine types neither.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from annotation_api.cli.output import without_password
from annotation_api.cli.problems import of_address, told
from annotation_api.cli.streamed import StreamedEvent, parse_events
from annotation_api.http.patience import Patient

RECONNECT_SECONDS = 2.0
RECONNECTS = 30  # in a row without an event; about a minute
READ_SECONDS = 60.0
KEYS_FALL_SHORT = ("urn:rankloop:forbidden", "urn:rankloop:out-of-scope")  # the role, or what the key is for
FOR_NOW = (502, 503, 504)  # the same request may succeed later


Sent = Callable[[int, int], None]  # bytes more, bytes in all


class ClientError(Exception):
    """The command cannot be done; the message is one sentence. `body` is the service's problem, if it sent one."""

    def __init__(self, message: str, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.body = dict(body or {})


class Unavailable(ClientError):
    """The service, or a proxy before it, says that it cannot answer just now."""


@dataclass(frozen=True)
class Credentials:
    url: str
    api_key: str = field(repr=False)


def find_credentials(environment: Mapping[str, str] = os.environ) -> Credentials:
    """The service's URL and a key. Raises ClientError saying which to set."""
    url, key = environment.get("RANKLOOP_URL"), _secret(environment, "RANKLOOP_API_KEY")
    if url and (bare := without_password(url)) != url:  # httpx would send them in the key's header, in its place
        raise ClientError(
            f"RANKLOOP_URL holds a name or a password before {bare}, which would be sent in place of the key: "
            "write the address alone, and the key in RANKLOOP_API_KEY."
        )
    if url and key:
        return Credentials(url.rstrip("/"), key)
    path = Path(environment.get("RANKLOOP_HOME") or ".rankloop") / "credentials.json"
    stored = _stored(path)
    if url and stored and stored.url.rstrip("/") != url.rstrip("/"):
        there = without_password(stored.url)
        raise ClientError(f"RANKLOOP_URL is {url}, but {path} holds a key for {there}: set RANKLOOP_API_KEY too.")
    if stored is None:
        raise ClientError(
            f"No service is known: {path} does not exist. If one runs from another folder of this machine, set "
            "RANKLOOP_HOME to that folder's .rankloop; if on another machine, set RANKLOOP_URL and RANKLOOP_API_KEY; "
            "else start one with `rankloop up`."
        )
    return Credentials((url or stored.url).rstrip("/"), key or stored.api_key)


def _stored(path: Path) -> Credentials | None:
    try:
        values = json.loads(path.read_text())
        return Credentials(values["url"], values["api_key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClientError(f"{path} cannot be used ({error}); run `rankloop up` again to write it anew.") from None


def _secret(environment: Mapping[str, str], name: str) -> str | None:
    """The variable, or the content of the file that `<name>_FILE` names."""
    path = environment.get(f"{name}_FILE")
    if not path:
        return environment.get(name)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ClientError(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from None


class Client:
    """The verbs that commands use; every answer is checked."""

    def __init__(self, credentials: Credentials) -> None:
        self.url = without_password(credentials.url)
        timeout = httpx.Timeout(READ_SECONDS, connect=5.0)
        headers = {"Authorization": f"Bearer {credentials.api_key}"}
        try:
            self.http = httpx.Client(base_url=credentials.url, headers=headers, timeout=timeout, transport=Patient())
            known = self.http.base_url.scheme in ("http", "https")
        except httpx.InvalidURL:  # what it says may hold a part of a password
            known = False
        if not known:
            raise ClientError(f"{self.url} is no address of a service; one is http://HOST:PORT.")

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, params={k: v for k, v in query.items() if v is not None}).json()

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self._send("POST", path, json=body).json()

    def patch(self, path: str, body: Any) -> Any:
        return self._send("PATCH", path, json=body).json()

    def put(self, path: str, body: Any) -> Any:
        return self._send("PUT", path, json=body).json()

    def upload(
        self, path: str, file: Path, fields: Mapping[str, str], *, key: str, sent: Sent, most: int | None = None
    ) -> Any:
        """Send a file as multipart, or its first `most` bytes; importing may take longer than any read timeout.

        `key` makes a retry safe; `sent` is told how many more bytes left, and how many there are.
        """
        try:
            with _Counting(file, sent) if most is None else io.BytesIO(_beginning(file, most)) as stream:
                files = {"file": (file.name, stream)}
                timeout = httpx.Timeout(READ_SECONDS, read=None)
                headers = {"Idempotency-Key": key}
                options = {"files": files, "data": dict(fields), "timeout": timeout, "headers": headers}
                return self._send("POST", path, **options).json()
        except OSError as error:
            raise ClientError(f"{file} cannot be read: {error.strerror or error}.") from None

    def send_part(self, path: str, data: bytes, offset: int) -> Any:
        """The bytes of a file from `offset` on."""
        options = {"content": data, "params": {"offset": offset}}
        return self._send("PUT", path, headers={"Content-Type": "application/octet-stream"}, **options).json()

    def pages(self, path: str, most: int, **query: Any) -> list[dict[str, Any]]:
        """Up to `most` items of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor = None
        while len(items) < most:
            page = self.get(path, limit=min(most - len(items), 500), cursor=cursor, **query)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return items

    def download(self, path: str, to: Path, **query: Any) -> int:
        """Stream an answer into a file, whole or absent; returns its size."""
        part = to.with_name(to.name + ".part")
        try:
            with self._stream(path, query, {}) as answer, part.open("wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
            part.replace(to)
            return to.stat().st_size
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        except OSError as error:
            raise ClientError(f"{to} cannot be written: {error.strerror or error}.") from None
        finally:
            part.unlink(missing_ok=True)

    def events(self, job: str, lost: Callable[[], None] = lambda: None) -> Iterator[StreamedEvent]:
        """A job's events until it ends. A lost connection is taken up after the last number seen.

        `lost` is told once of each loss. Raises ClientError, for a service that is not there only after `RECONNECTS`
        tries in a row.
        """
        last, failures = 0, 0
        while True:
            try:
                for event in self._events(job, last):
                    last, failures = event.id or last, 0
                    yield event
                    if event.type == "end":
                        return
            except (httpx.HTTPError, Unavailable) as error:
                failures += 1
                if failures == 1:
                    lost()
                if failures > RECONNECTS:
                    raise error if isinstance(error, ClientError) else self._unreachable(error) from None
            time.sleep(RECONNECT_SECONDS)

    def _events(self, job: str, last: int) -> Iterator[StreamedEvent]:
        with self._stream(f"/v1/jobs/{job}/events", {}, {"Last-Event-ID": str(last)}) as answer:
            yield from parse_events(answer.iter_lines())

    def _stream(self, path: str, query: dict[str, Any], headers: dict[str, str]) -> _Checked:
        return _Checked(self.http.stream("GET", path, params=query, headers=headers))

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self.http.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None
        return checked(answer)

    def _unreachable(self, error: Exception) -> ClientError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ClientError(f"The service at {self.url} does not answer. Is `rankloop up` running?")
        said = str(error).rstrip(".") or type(error).__name__
        return ClientError(f"The connection to {self.url} failed: {said}.")


def _beginning(file: Path, most: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(most)


class _Counting(io.BufferedReader):
    """A file that says how much of it is read."""

    def __init__(self, path: Path, sent: Sent) -> None:
        super().__init__(io.FileIO(path))
        self._sent, self._total = sent, path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._sent(len(data), self._total)
        return data


class _Checked:
    """A streamed answer whose status is looked at before its body is."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> httpx.Response:
        answer: httpx.Response = self.stream.__enter__()
        if answer.is_error:
            answer.read()
            self.stream.__exit__(None, None, None)
        return checked(answer)

    def __exit__(self, *error: Any) -> None:
        self.stream.__exit__(*error)


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer itself, or ClientError with the service's own sentence."""
    if answer.is_success:
        return answer
    try:
        body = answer.json()
    except ValueError:
        body = {}
    refusal = Unavailable if answer.status_code in FOR_NOW else ClientError
    if not isinstance(body, dict) or "detail" not in body:
        raise refusal(f"{_asked(answer)} answered {answer.status_code}; is that a Rankloop service?")
    raise refusal(_said(answer, body), body)


def _said(answer: httpx.Response, body: Mapping[str, Any]) -> str:
    """The service's sentence in the words of a command line, and where a better key comes from."""
    first: Mapping[str, Any] = next(iter(body.get("errors") or ()), {})
    said = told(first) if of_address(first) else str(body["detail"])
    if body.get("type") not in KEYS_FALL_SHORT:
        return said
    at = _asked(answer).partition("/v1/")[0]
    return f"{said} Who may do it makes a key at {at}/keys; set RANKLOOP_API_KEY to that."


def _asked(answer: httpx.Response) -> str:
    """The address that may be printed: nobody's name and password before its host, which `netloc` leaves out."""
    url = answer.request.url
    return f"{url.scheme}://{url.netloc.decode()}{url.path}"
