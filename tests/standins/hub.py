"""The Hugging Face hub on this computer: folders of models at its addresses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "beef"


class Hub(ThreadingHTTPServer):
    """Serves ``root/OWNER/NAME``, whatever the revision."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.root = root
        self.address = f"http://127.0.0.1:{self.server_port}"


class HubRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        asks = parts[:2] == ["api", "models"]
        parts = parts[2:] if asks else parts
        folder = self.server.root / "/".join(parts[:2])
        what, revision, *inside = parts[2:] or ["", ""]
        revision = COMMIT if revision == "main" else revision
        if asks and folder.is_dir():
            return self.describe(folder, what, revision)
        path = folder.joinpath(*inside)
        if what != "resolve" or not path.is_file():
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        data = path.read_bytes()
        tag = hashlib.sha1(data).hexdigest()
        return self.send(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": revision})

    def describe(self, folder: Path, what: str, revision: str) -> None:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(folder).as_posix() for path in files]
        told = {"id": folder.name, "sha": revision, "siblings": [{"rfilename": n} for n in names]}
        if what == "tree":
            told = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": name}
                for name, path in zip(names, files, strict=True)
            ]
        self.send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The hub's address for as long as the block runs."""
    with Hub(root) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub.address
        hub.shutdown()
