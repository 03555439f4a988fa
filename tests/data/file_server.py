"""A small HTTP server on 127.0.0.1 that behaves well or badly, request by request, as a test asks."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `content` at every path.

    behaviours: what the coming requests get, one each; after them `default`:
      "range"         the file, honouring Range (206 with Content-Range; 416 behind the end)
      "no range"      the whole file, whatever was asked
      "cut"           as "range", but the connection ends half way
      "wrong range"   206 with the bytes from 0 and a Content-Range that says so
      "no length"     the file without a Content-Length
      "slow header"   no answer for three seconds
      "trickle"       as "range", in little pieces with pauses
      any number      that HTTP status
    ranges: the Range header of every request so far, or None; sent: bytes of body that went out.
    """

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.default: str | int = "range"
        self.behaviours: deque[str | int] = deque()
        self.ranges: list[str | None] = []
        self.sent = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.txt"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is part of the tests: say nothing."""


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        behaviour = server.behaviours.popleft() if server.behaviours else server.default
        if isinstance(behaviour, int):
            self.send_error(behaviour)
            return
        if behaviour == "slow header":
            time.sleep(3.0)
            return
        total = len(server.content)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and behaviour != "no range" else 0
        if behaviour == "wrong range":
            start = 0
        if asked and start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.end_headers()
            return
        body = server.content[start:]
        if asked and behaviour != "no range":
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if behaviour != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour == "cut":
            body = body[: len(body) // 2]
        step = 4096 if behaviour == "trickle" else len(body) or 1
        for first in range(0, len(body), step):
            piece = body[first : first + step]
            self.wfile.write(piece)
            server.sent += len(piece)
            if behaviour == "trickle":
                time.sleep(0.005)
        if behaviour == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
