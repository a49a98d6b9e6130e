"""A server on this computer that hands out files, cut, slow or wrong as a test wishes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from erragree_utils.benchmarks.archive import CHUNK
from erragree_utils.benchmarks.download import ensure
from erragree_utils.benchmarks.transfer import RemoteFile

BODY = np.random.default_rng(0).bytes(3 * CHUNK + 123)
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Reply:
    """What the server answers at one path."""

    body: bytes = BODY
    status: int = 200
    content_type: str = "application/octet-stream"
    etag: str | None = '"v1"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)  # close after so many bytes, once each
    slow: float = 0.0  # seconds between pieces
    drip: float = 0.0  # seconds between the bytes of a head without end
    piece: int = CHUNK
    length: bool = True
    disposition: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None  # length that HEAD tells


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.log.append((self.path, self.headers.get("Range")))
        known, bare = self.server.replies, self.path.partition("?")[0]
        reply = known.get(self.path) or known.get(bare) or Reply(b"", 404)
        if reply.drip:
            return self._drip(reply)
        if "Location" in reply.headers:
            return self._send(reply, reply.status, reply.body)
        if reply.status != 200:
            return self._send(reply, reply.status, b"sorry")
        start = self._start(reply)
        if start is not None and start >= len(reply.body):
            return self._send(reply, 416, b"", {"Content-Range": f"bytes */{len(reply.body)}"})
        if start is None:
            return self._send(reply, 200, reply.body)
        span = {"Content-Range": f"bytes {start}-{len(reply.body) - 1}/{len(reply.body)}"}
        return self._send(reply, 206, reply.body[start:], span)

    def _drip(self, reply: Reply) -> None:
        """A head that goes on for as long as somebody listens."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(OSError):
            for _ in range(400):
                self.wfile.write(b"x")
                time.sleep(reply.drip)

    def _start(self, reply: Reply) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if not asked or not reply.ranges or (condition and condition != reply.etag):
            return None
        return int(asked[1])

    def _send(self, reply: Reply, status: int, body: bytes, headers: dict | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", reply.content_type)
        if reply.length:
            told = reply.announced if self.command == "HEAD" else None
            self.send_header("Content-Length", str(told or len(body)))
        if reply.etag:
            self.send_header("ETag", reply.etag)
        if reply.disposition:
            self.send_header("Content-Disposition", reply.disposition)
        for name, value in {**reply.headers, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.cuts:
            body = body[: reply.cuts.pop(0)]
        for at in range(0, len(body), reply.piece):
            try:
                self.wfile.write(body[at : at + reply.piece])
                self.wfile.flush()
            except OSError:  # the client was killed
                return
            time.sleep(reply.slow)

    def log_message(self, *args) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: dict[str, Reply] = {}
        self.log: list[tuple[str, str | None]] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.log]


def remote(server: Server, reply: Reply | None = None, name: str = "f.bin", **known) -> RemoteFile:
    server.replies[f"/{name}"] = reply or Reply()
    return RemoteFile(name, url=f"{server.address}/{name}", **known)


def get(file: RemoteFile, folder: Path) -> bytes:
    path = ensure(file, folder)
    assert not list(folder.glob("*.part*")), "a partial file was left"
    return path.read_bytes()


def started(folder: Path, content: bytes, tag: str | None = '"v1"', name: str = "f.bin") -> None:
    """What an interrupted download leaves."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.part").write_bytes(content)
    if tag is not None:
        (folder / f"{name}.part.tag").write_text(tag)


def attachment(body: bytes = BODY, **changes) -> Reply:
    return Reply(body, disposition='attachment; filename="f.bin"', **changes)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), (90, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
