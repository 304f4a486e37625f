"""An endpoint of OpenAI's kind on this machine, behind which the talker sits."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.workers.instruct.talker import Talker


class Service(ThreadingHTTPServer):
    """Answers as the talker does; first with each of `statuses`. After `most` answers it waits for `go_on`."""

    most = 10**9

    def __init__(self, statuses: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.daemon_threads = True
        self.statuses, self.talker, self.keys = statuses, Talker(), set[str | None]()
        self.asked, self.go_on = 0, threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.add(self.headers["Authorization"])
        self.server.asked += 1
        if self.server.asked > self.server.most:
            self.server.go_on.wait()
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        said = self.server.talker([body["messages"][0]["content"]], 0)[0]
        data = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
        self.send_response(status)
        if status == 307:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        if status == 206:
            self.send_header("Content-Encoding", "gzip")  # which it is not
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def serving() -> Iterator[Service]:
    server = Service([])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
