"""Downloads against a server on this computer: resumed, checked, safely unpacked."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import huggingface_hub
import numpy as np
import pytest
import requests
from PIL import Image

from erragree_utils.benchmarks import BenchmarkError, load_benchmark, mmvp, transfer
from erragree_utils.benchmarks.archive import CHUNK
from erragree_utils.benchmarks.download import DownloadError, cache_folder, ensure
from erragree_utils.benchmarks.transfer import RemoteFile

BODY = np.random.default_rng(0).bytes(3 * CHUNK + 123)
SHA256 = hashlib.sha256(BODY).hexdigest()


# --- the server --------------------------------------------------------------------------------


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


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt a call and no waiting, unless a test says otherwise."""
    monkeypatch.setattr(transfer, "RETRIES", 0)
    monkeypatch.setattr(transfer, "WAIT_S", 0.0)


@pytest.fixture
def internet(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """All other hosts are ours, at ``/host/path``: only the transport is replaced."""
    send = requests.adapters.HTTPAdapter.send

    def to_us(self, request, **options):
        parts = urlsplit(request.url)
        if parts.hostname != "127.0.0.1":
            query = f"?{parts.query}" if parts.query else ""
            request.url = f"{server.address}/{parts.hostname}{parts.path}{query}"
        return send(self, request, **options)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", to_us)
    return server


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


# --- fetching ----------------------------------------------------------------------------------


def test_a_file_is_fetched_once(server: Server, tmp_path: Path):
    file = remote(server, size=len(BODY), sha256=SHA256)
    assert get(file, tmp_path / "new" / "folder") == BODY
    path = ensure(file, tmp_path / "new" / "folder")
    assert (path.read_bytes(), len(server.log)) == (BODY, 1)


@pytest.mark.parametrize("offset", [1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, len(BODY) - 1])
def test_an_interrupted_download_goes_on_at_its_byte(server: Server, tmp_path: Path, offset: int):
    started(tmp_path, BODY[:offset])
    assert get(remote(server), tmp_path) == BODY
    assert server.ranges == [f"bytes={offset}-"]


@pytest.mark.parametrize("cut", [1, CHUNK, 2 * CHUNK + 5, len(BODY) - 1])
def test_a_dropped_connection_is_taken_up_again_at_the_very_byte(
    server: Server, tmp_path: Path, cut: int
):
    assert get(remote(server, Reply(cuts=[cut])), tmp_path) == BODY
    assert server.ranges == [None, f"bytes={cut}-"]


def test_a_line_that_is_cut_every_thousand_bytes_comes_to_its_end(server: Server, tmp_path: Path):
    assert get(remote(server, Reply(cuts=[1000] * 500)), tmp_path) == BODY
    assert server.ranges[1:] == [f"bytes={at}-" for at in range(1000, len(BODY), 1000)]


def test_tries_in_vain_end_and_what_came_before_is_kept(server: Server, tmp_path: Path):
    file = remote(server, Reply(cuts=[1000, 0]))
    with pytest.raises(DownloadError, match=r"(?s)connection.*kept in .*f\.bin\.part.*by hand"):
        ensure(file, tmp_path)
    assert (tmp_path / "f.bin.part").read_bytes() == BODY[:1000]
    assert not (tmp_path / "f.bin").exists()
    assert get(file, tmp_path) == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-"]


def test_tries_that_bring_nothing_are_repeated_so_many_times(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transfer, "RETRIES", 2)
    assert get(remote(server, Reply(cuts=[0, 0])), tmp_path) == BODY
    assert len(server.log) == 3


def test_a_download_may_be_cut_at_any_byte_and_goes_on_from_any(server: Server, tmp_path: Path):
    body = BODY[:64]
    for byte in range(1, len(body)):
        file = remote(server, Reply(body, cuts=[byte]), sha256=hashlib.sha256(body).hexdigest())
        assert get(file, tmp_path / str(byte)) == body
        assert server.ranges[-1] == f"bytes={byte}-"


def test_a_line_that_is_too_slow_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transfer, "PATIENCE_S", 0.5)
    file = remote(server, Reply(piece=1, slow=0.05))
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"the line is too slow: \d+ bytes in \d s"):
        ensure(file, tmp_path)
    assert time.monotonic() - began < 5
    kept = (tmp_path / "f.bin.part").read_bytes()
    assert kept and BODY.startswith(kept)
    server.replies["/f.bin"].piece = CHUNK
    assert get(file, tmp_path) == BODY and server.ranges[-1] == f"bytes={len(kept)}-"


def test_a_head_that_does_not_end_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transfer, "PATIENCE_S", 0.5)
    began = time.monotonic()
    with pytest.raises(DownloadError, match="the line is too slow"):
        ensure(remote(server, Reply(drip=0.05)), tmp_path)
    assert time.monotonic() - began < 5


def redirect(place: str, body: bytes = b"", **changes) -> Reply:
    return Reply(body, 302, headers={"Location": place}, **changes)


def test_a_redirect_is_followed_and_its_body_is_not_read(server: Server, tmp_path: Path):
    server.replies["/moved"] = redirect("elsewhere?x=1", bytes(200), piece=1, slow=0.05)
    server.replies["/elsewhere"] = Reply()
    began = time.monotonic()
    assert get(RemoteFile("f.bin", url=f"{server.address}/moved"), tmp_path) == BODY
    assert time.monotonic() - began < 5
    assert [path for path, _ in server.log] == ["/moved", "/elsewhere?x=1"]


def test_an_interrupted_download_goes_on_behind_a_redirect(server: Server, tmp_path: Path):
    started(tmp_path, BODY[:1000])
    server.replies["/moved"] = redirect(f"{server.address}/elsewhere")
    server.replies["/elsewhere"] = Reply()
    assert get(RemoteFile("f.bin", url=f"{server.address}/moved"), tmp_path) == BODY
    assert server.ranges == ["bytes=1000-"] * 2


def test_redirects_in_a_circle_are_given_up(server: Server, tmp_path: Path):
    file = remote(server, redirect("/f.bin"))
    with pytest.raises(DownloadError, match="sends us on more than 10 times"):
        ensure(file, tmp_path)
    assert len(server.log) == 11


@pytest.mark.parametrize("known", [{"size": 1000}, {}], ids=["size known", "size unknown"])
def test_more_than_the_file_can_be_long_is_not_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: dict
):
    monkeypatch.setattr(transfer, "MAX_BYTES", 1000)
    file = remote(server, Reply(length=False), **known)
    with pytest.raises(DownloadError, match="more came than the file"):
        ensure(file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".f.bin.lock"]
    if not known:
        with pytest.raises(DownloadError, match=f"offers {len(BODY)} bytes; more than 1000"):
            ensure(remote(server), tmp_path)


@pytest.mark.parametrize("host", ["plain", "Google Drive"])
def test_what_would_unfold_is_refused(internet: Server, tmp_path: Path, host: str):
    bomb = Reply(gzip.compress(bytes(200 << 20), 1), headers={"Content-Encoding": "gzip"})
    file = remote(internet, bomb)
    if host != "plain":
        bomb.disposition, file = "attachment", drive_file()
        internet.replies[DRIVE] = bomb
    with pytest.raises(DownloadError, match="sends the file packed .'gzip'."):
        ensure(file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".f.bin.lock"]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("f.bin", b' {"error": {"code": 403, "message": "quota"}}', "JSON object.*quota"),
        ("f.json", b'{"error": "quota"}', "JSON object.*quota"),
        ("f.json", b'"quota"', "no JSON list.*quota"),
        ("f.json", b"quota exceeded", "not JSON.*quota exceeded"),
        ("f.json", b'[[1, "a"', "not JSON"),
        ("f.json", b"[" * 100_000, "not JSON .*recursion"),
    ],
)
def test_an_error_in_json_is_not_taken_for_the_file(
    server: Server, tmp_path: Path, name: str, body: bytes, message: str
):
    file = remote(server, Reply(body, content_type="application/json"), name)
    with pytest.raises(DownloadError, match=rf"(?s){message}"):
        ensure(file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".{name}.lock"]
    server.replies[f"/{name}"] = Reply(b'[[1, "a", "b"]]')
    assert get(file, tmp_path) == b'[[1, "a", "b"]]'


def test_a_killed_process_leaves_what_the_next_one_finishes(server: Server, tmp_path: Path):
    file = remote(server, Reply(slow=0.3))
    code = (
        "from pathlib import Path; from erragree_utils.benchmarks.download import ensure;"
        "from erragree_utils.benchmarks.transfer import RemoteFile;"
        f"ensure(RemoteFile('f.bin', url={file.url!r}), Path({str(tmp_path)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "f.bin.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 0 < part.stat().st_size < len(BODY)
    assert not (tmp_path / "f.bin").exists()
    server.replies["/f.bin"].slow = 0.0
    assert get(file, tmp_path) == BODY
    assert server.ranges[-1] is not None


def test_a_file_that_changed_on_the_server_is_not_glued_to_the_old(server: Server, tmp_path: Path):
    started(tmp_path, BODY[:1000], tag='"v0"')
    new = BODY[::-1]
    assert get(remote(server, Reply(new)), tmp_path) == new


def test_without_a_way_to_tell_a_changed_file_it_starts_afresh(server: Server, tmp_path: Path):
    started(tmp_path, b"x" * 1000, tag=None)
    assert get(remote(server, Reply(etag=None)), tmp_path) == BODY
    assert server.ranges == [None]


def test_a_known_checksum_is_enough_to_go_on(server: Server, tmp_path: Path):
    started(tmp_path, BODY[:1000], tag=None)
    assert get(remote(server, Reply(etag=None), sha256=SHA256), tmp_path) == BODY
    assert server.ranges == ["bytes=1000-"]


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path):
    started(tmp_path, BODY[:1000])
    assert get(remote(server, Reply(ranges=False)), tmp_path) == BODY


@pytest.mark.parametrize("known", [{}, {"size": len(BODY)}], ids=["size unknown", "size known"])
def test_a_complete_partial_file_is_taken(server: Server, tmp_path: Path, known: dict):
    started(tmp_path, BODY)
    assert get(remote(server, **known), tmp_path) == BODY


def test_a_partial_file_longer_than_the_file_is_dropped(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transfer, "RETRIES", 1)
    started(tmp_path, BODY + b"more")
    assert get(remote(server), tmp_path) == BODY
    started(tmp_path / "b", BODY + b"more")
    assert get(remote(server, size=len(BODY)), tmp_path / "b") == BODY


def test_a_truncated_file_without_a_length_is_found_by_its_size(server: Server, tmp_path: Path):
    file = remote(server, Reply(cuts=[1000, 0], length=False), size=len(BODY))
    with pytest.raises(DownloadError, match=f"lost after 1000 of {len(BODY)} bytes"):
        ensure(file, tmp_path)
    assert get(file, tmp_path) == BODY


def test_a_file_of_another_size_is_refused_before_it_is_fetched(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match=f"offers {len(BODY)} bytes instead of 5"):
        ensure(remote(server, size=5), tmp_path)
    assert not (tmp_path / "f.bin").exists()


def test_a_wrong_checksum_is_refused_and_dropped(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match=f"checksum {SHA256} instead of 000"):
        ensure(remote(server, sha256="000"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".f.bin.lock"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "login"),
        (403, "refuses access"),
        (404, "moved or removed"),
        (410, "removed"),
        (418, "answered 418"),
        (429, "wait an hour"),
        (500, "problem of its own"),
        (503, "problem of its own"),
    ],
)
def test_a_refusal_says_why_and_how_to_get_the_file_by_hand(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, reason: str
):
    monkeypatch.setattr(transfer, "RETRIES", 2)
    file = remote(server, Reply(status=status))
    with pytest.raises(DownloadError) as error:
        ensure(file, tmp_path)
    message = str(error.value)
    assert reason in message and str(status) in message
    assert f"open {file.url} in a browser and save the file as {tmp_path / 'f.bin'}" in message
    assert len(server.log) == (3 if status >= 500 else 1)
    assert not (tmp_path / "f.bin").exists()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!-- 7 --><div>Quota exceeded</div>", "text/html; charset=utf-8"),
        (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "application/octet-stream"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "binary/octet-stream"),
    ],
)
def test_a_web_page_is_not_taken_for_the_file(
    server: Server, tmp_path: Path, body: bytes, content_type: str
):
    page = Reply(body, content_type=content_type)
    with pytest.raises(DownloadError, match="web page.*not the file"):
        ensure(remote(server, page), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".f.bin.lock"]


def test_an_empty_file_is_refused(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match="empty"):
        ensure(remote(server, Reply(b"")), tmp_path)


def test_without_a_network_the_error_says_so(server: Server, tmp_path: Path):
    file = RemoteFile("f.bin", url="http://127.0.0.1:1/f.bin")  # nobody listens at port 1
    with pytest.raises(DownloadError, match=r"(?s)cannot be reached: is there a network.*by hand"):
        ensure(file, tmp_path)


def test_of_several_at_once_one_downloads(server: Server, tmp_path: Path):
    file = remote(server, Reply(slow=0.05))
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(ensure(file, tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [BODY] * 4
    assert len(server.log) == 1


def test_a_cache_that_cannot_be_written_names_the_way_out(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="ERRAGREE_CACHE"):
        ensure(remote(server), tmp_path / "file" / "cache")


def test_the_environment_moves_the_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERRAGREE_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("ERRAGREE_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "erragree"


def test_a_remote_file_has_one_address():
    with pytest.raises(ValueError, match="either url or drive_id"):
        RemoteFile("x")


# --- Google Drive ------------------------------------------------------------------------------

DRIVE_ID = "1ap8mmmpQjLIjPGuplkpBgc1hoEHCj4hm"
DRIVE = f"/drive.google.com/uc?id={DRIVE_ID}"
CONFIRMED = f"/drive.usercontent.google.com/download?id={DRIVE_ID}&export=download&confirm=t"
PAGE = (
    '<html><form id="download-form" action="https://drive.usercontent.google.com/download">'
    f'<input type="hidden" name="id" value="{DRIVE_ID}">'
    '<input type="hidden" name="export" value="download">'
    '<input type="hidden" name="confirm" value="t"></form></html>'
)


def attachment(body: bytes = BODY, **changes) -> Reply:
    return Reply(body, disposition='attachment; filename="f.bin"', **changes)


def drive_file(**known) -> RemoteFile:
    return RemoteFile("f.bin", drive_id=DRIVE_ID, **known)


def test_drive_hands_out_small_files_at_once(internet: Server, tmp_path: Path):
    internet.replies[DRIVE] = attachment()
    assert get(drive_file(sha256=SHA256), tmp_path) == BODY


def test_drive_asks_to_confirm_large_files(internet: Server, tmp_path: Path):
    internet.replies[DRIVE] = Reply(PAGE.encode(), content_type="text/html; charset=utf-8")
    internet.replies[CONFIRMED] = attachment()
    assert get(drive_file(), tmp_path) == BODY


def test_drive_downloads_are_resumed(internet: Server, tmp_path: Path):
    internet.replies[DRIVE] = Reply(PAGE.encode(), content_type="text/html; charset=utf-8")
    internet.replies[CONFIRMED] = attachment(cuts=[1000, 0])
    with pytest.raises(DownloadError, match=r"(?s)connection was lost.*drive\.google\.com/file/d/"):
        ensure(drive_file(), tmp_path)
    assert not (tmp_path / "f.bin").exists()
    assert get(drive_file(), tmp_path) == BODY
    assert internet.ranges[-1] == "bytes=1000-"


def test_a_drive_download_that_cannot_be_resumed_starts_afresh(internet: Server, tmp_path: Path):
    internet.replies[DRIVE] = attachment(cuts=[len(BODY) - 5, 0], ranges=False)
    with pytest.raises(DownloadError):
        ensure(drive_file(), tmp_path)
    assert get(drive_file(), tmp_path) == BODY


def test_a_page_of_drive_without_end_is_not_read_to_its_end(internet: Server, tmp_path: Path):
    page = Reply(b"<p>" * (1 << 20), content_type="text/html", length=False)
    internet.replies[DRIVE] = page
    with pytest.raises(DownloadError, match="more came than the file or page can be long"):
        ensure(drive_file(), tmp_path)


def test_the_quota_page_of_drive_is_explained(internet: Server, tmp_path: Path):
    page = b'<html><p class="uc-error-subcaption">Too many users have viewed this file.</p></html>'
    internet.replies[DRIVE] = Reply(page, content_type="text/html")
    with pytest.raises(DownloadError) as error:
        ensure(drive_file(), tmp_path)
    message = str(error.value)
    assert "quota" in message and "Too many users" in message
    assert f"https://drive.google.com/file/d/{DRIVE_ID}/view" in message
    assert str(tmp_path / "f.bin") in message


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_refusal_of_drive_says_how_to_get_the_file_by_hand(
    internet: Server, tmp_path: Path, status: int
):
    internet.replies[DRIVE] = Reply(status=status, content_type="text/html")
    with pytest.raises(DownloadError, match=r"Google Drive(.|\n)*by hand, open https://drive"):
        ensure(drive_file(), tmp_path)


def test_a_web_page_handed_out_as_an_attachment_is_found(internet: Server, tmp_path: Path):
    internet.replies[DRIVE] = attachment(b"<html>Sign in</html>")
    with pytest.raises(DownloadError, match="web page"):
        ensure(drive_file(), tmp_path)
    assert not (tmp_path / "f.bin").exists()


def test_drive_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody listens there
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DownloadError, match="is there a network"):
        ensure(drive_file(), tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERRAGREE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), (90, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


# --- data sets of the hub ----------------------------------------------------------------------

COMMIT = "c" * 40
MMVP = "MMVP/MMVP"


@pytest.fixture
def hub(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A stand-in for the hub that has MMVP, of one pair; its client does not wait between tries."""
    fetch = partial(huggingface_hub.snapshot_download, endpoint=server.address)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 64)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
    small = replace(mmvp.DATA_SETS[MMVP], n_files=3)
    monkeypatch.setitem(mmvp.DATA_SETS, MMVP, small)
    rows = "Index,Question,Options,Correct Answer\n"
    rows += "".join(f"{i},Is it red?,(a) Yes (b) No,({'ab'[i - 1]})\n" for i in (1, 2))
    files = {"Questions.csv": rows.encode()}
    files |= {f"MMVP Images/{i}.jpg": jpeg() for i in (1, 2)}
    server.files = files
    named = {"X-Repo-Commit": COMMIT}
    listed = [{"type": "file", "path": name, "size": len(data), "oid": name}
              for name, data in files.items()]  # fmt: skip
    about = json.dumps({"id": MMVP, "sha": COMMIT}).encode()
    server.replies[f"/api/datasets/{MMVP}/revision/main"] = Reply(about, headers=named)
    tree = Reply(json.dumps(listed).encode(), headers=named)
    server.replies[f"/api/datasets/{MMVP}/tree/{COMMIT}"] = tree
    for name, data in files.items():
        server.replies[place_of(name)] = Reply(data, headers=named, etag=f'"{len(data)}{name[-5]}"')
    return server


def place_of(name: str) -> str:
    return f"/datasets/{MMVP}/resolve/{COMMIT}/{quote(name)}"


def load_small_mmvp():
    with pytest.warns(UserWarning, match="has 2 entries, mmvp as published has 300"):
        return load_benchmark("mmvp")


def test_a_data_set_of_the_hub_is_fetched_into_the_cache(hub: Server, cache: Path):
    (pair,) = load_small_mmvp()
    assert [image.size for image in pair.images] == [(16, 12)] * 2
    assert {p for p in files_in(cache / "mmvp") if ".cache" not in p} == set(hub.files)


@pytest.mark.parametrize("cut", [64, 65, 200, 300])
def test_a_data_set_that_breaks_off_goes_on_where_it_was(hub: Server, cache: Path, cut: int):
    place = place_of("MMVP Images/2.jpg")
    hub.replies[place].cuts = [cut]
    load_small_mmvp()
    second = cache / "mmvp" / "MMVP Images" / "2.jpg"
    assert second.read_bytes() == hub.replies[place].body and len(second.read_bytes()) > 300
    asked = [span for path, span in hub.log if path == place and span]
    assert asked == [f"bytes={cut // 64 * 64}-"]  # the client keeps whole pieces


@pytest.mark.parametrize("cut", [0, 1, 63])
def test_a_data_set_that_cannot_be_completed_is_by_the_next_call(
    hub: Server, cache: Path, cut: int
):
    place = place_of("MMVP Images/2.jpg")
    hub.replies[place].cuts = [cut] * 20  # more often than the client tries
    with pytest.raises(DownloadError, match=r"(?s)MMVP/MMVP could not be fetched.*by hand"):
        load_benchmark("mmvp")
    second = cache / "mmvp" / "MMVP Images" / "2.jpg"
    assert not second.exists()
    hub.replies[place].cuts = []
    load_small_mmvp()
    assert second.read_bytes() == hub.replies[place].body


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("what", ["the data set", "a file"])
def test_a_refusal_of_the_hub_says_how_to_get_the_data_set_by_hand(
    hub: Server, cache: Path, what: str, status: int
):
    places = {"the data set": f"/api/datasets/{MMVP}/revision/main",
              "a file": place_of("Questions.csv")}  # fmt: skip
    hub.replies[places[what]] = Reply(status=status)
    with pytest.raises(DownloadError) as error:
        load_benchmark("mmvp")
    message = str(error.value)
    assert "MMVP/MMVP could not be fetched" in message
    assert str(status) in message or what == "a file"
    assert "hf download MMVP/MMVP --repo-type dataset --local-dir FOLDER" in message
    assert not (cache / "mmvp" / "Questions.csv").exists()


def test_a_data_set_that_is_half_there_is_not_taken_for_whole_without_the_hub(
    hub: Server, cache: Path
):
    load_small_mmvp()
    (cache / "mmvp" / "MMVP Images" / "2.jpg").unlink()
    hub.replies.clear()  # all is 404 from here on
    with pytest.raises((DownloadError, BenchmarkError), match=r"(?s)MMVP.*(by hand|2\.jpg)"):
        load_benchmark("mmvp")


def test_a_web_page_instead_of_the_list_of_questions_is_not_taken_for_it(hub: Server, cache: Path):
    hub.replies[place_of("Questions.csv")].body = b"<html>\nQuota exceeded, sign in\n</html>"
    with pytest.raises((BenchmarkError, DownloadError), match=r"Questions\.csv"):
        load_benchmark("mmvp")


def test_a_file_of_another_size_than_the_hub_listed_is_not_kept(hub: Server, cache: Path):
    place = place_of("MMVP Images/1.jpg")
    hub.replies[place].announced = len(hub.replies[place].body) + 7
    with pytest.raises(DownloadError, match="MMVP/MMVP could not be fetched"):
        load_benchmark("mmvp")
    assert not (cache / "mmvp" / "MMVP Images" / "1.jpg").exists()


# --- archives ----------------------------------------------------------------------------------

CONTENT = {f"photos/{name}.jpeg": bytes([i]) * 700 for i, name in enumerate("abcdef")}


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def tar_gz_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_is_fetched_unpacked_and_not_kept(server: Server, tmp_path: Path):
    packed = tar_gz_of(CONTENT)
    file = remote(server, Reply(packed), "photos.tar.gz", unpacks_to="photos")
    path = ensure(file, tmp_path)
    assert (path, len(files_in(path))) == (tmp_path / "photos", len(CONTENT))
    assert not (tmp_path / "photos.tar.gz").exists()
    assert ensure(file, tmp_path) == path
    assert len(server.log) == 1


def test_an_archive_saved_by_hand_is_unpacked_without_a_request(server: Server, tmp_path: Path):
    file = remote(server, Reply(status=403), "photos.zip", unpacks_to="photos")
    with pytest.raises(DownloadError, match=rf"save the file as {tmp_path / 'photos.zip'} \(as it"):
        ensure(file, tmp_path)
    (tmp_path / "photos.zip").write_bytes(zip_of(CONTENT))
    path = ensure(file, tmp_path)
    assert len(files_in(path)) == len(CONTENT)
    assert len(server.log) == 1


def test_a_page_saved_by_hand_instead_of_the_archive_is_named(server: Server, tmp_path: Path):
    file = remote(server, name="photos.zip", unpacks_to="photos")
    (tmp_path / "photos.zip").write_bytes(b"<html>quota</html>")
    with pytest.raises(DownloadError, match=r"photos\.zip is a web page.*there before: delete"):
        ensure(file, tmp_path)


def test_a_damaged_archive_that_was_fetched_is_fetched_again(server: Server, tmp_path: Path):
    packed = zip_of({"photos/a": os.urandom(5000)})
    file = remote(server, Reply(packed[:3000]), "photos.zip", unpacks_to="photos")
    with pytest.raises(DownloadError, match="damaged"):
        ensure(file, tmp_path)
    server.replies["/photos.zip"] = Reply(packed)
    path = ensure(file, tmp_path)
    assert files_in(path) == {"a"}


# --- whole benchmarks --------------------------------------------------------------------------


def drive_reply(internet: Server, drive_id: str, body: bytes) -> None:
    internet.replies[f"/drive.google.com/uc?id={drive_id}"] = attachment(body)


def test_whatsup_is_fetched_into_the_cache_once(internet: Server, cache: Path):
    words = {
        "left_of": "to the left of",
        "right_of": "to the right of",
        "on": "on",
        "under": "under",
    }
    names = {word: f"beer bottle_{word}_arm-chair.jpeg" for word in words}
    entries = [
        {
            "image_path": f"data/controlled_images/{names[word]}",
            "caption_options": [
                f"A beer bottle {words[w]} an arm-chair" for w in sorted(words, key=word.__ne__)
            ],
        }
        for word in words
    ]
    drive_reply(internet, "1ap8mmmpQjLIjPGuplkpBgc1hoEHCj4hm", json.dumps(entries).encode())
    photos = {f"controlled_images/{name}": jpeg() for name in names.values()}
    drive_reply(internet, "19KGYVQjrV3syb00GgcavB2nZTW5NXX0H", tar_gz_of(photos))
    with pytest.warns(UserWarning, match=r"has 4 entries, whatsup-a as published has 412"):
        bench = load_benchmark("whatsup-a")
    assert [pair.relation for pair in bench] == ["left/right", "on/under"]
    assert [image.size for pair in bench for image in pair.images] == [(16, 12)] * 4
    requests_so_far = len(internet.log)
    with pytest.warns(UserWarning, match="412"):
        assert load_benchmark("whatsup-a", download=False) == bench
    assert len(internet.log) == requests_so_far


def test_coco_spatial_takes_the_images_from_coco_and_checks_them(internet: Server, cache: Path):
    items = json.dumps([[139, "A dog on the left", "A dog on the right"]]).encode()
    drive_reply(internet, "1RsMdpE9mmwnK4zzMPpC1-wTU_hNis-dq", items)
    internet.replies["/images.cocodataset.org/zips/val2017.zip"] = Reply(zip_of({"val2017/x": b""}))
    with pytest.raises(DownloadError, match=r"val2017\.zip.* bytes instead of 815585330") as error:
        load_benchmark("coco-spatial", objects="one")
    assert str(cache / "whatsup" / "val2017.zip") in str(error.value)


@pytest.mark.parametrize("name", ["whatsup-b", "coco-spatial", "gqa-spatial"])
def test_an_empty_cache_without_download_says_what_goes_where(name: str, cache: Path):
    with pytest.raises(BenchmarkError, match="download=True") as error:
        load_benchmark(name, download=False)
    assert str(cache / "whatsup") in str(error.value)


def test_drive_ids_are_well_formed_and_distinct():
    from erragree_utils.benchmarks.spatial import SOURCES
    from erragree_utils.benchmarks.whatsup import PARTS

    remotes = [file for part in PARTS.values() for file in (part.json, part.images)]
    remotes += [f for source in SOURCES.values() for f in (*source.json.values(), source.images)]
    ids = [file.drive_id for file in remotes if file.drive_id]
    assert len(set(ids)) == len(ids) == 9
    for file in remotes:
        query = parse_qs(urlsplit(f"https://drive.google.com/uc?id={file.drive_id}").query)
        assert file.url or re.fullmatch(r"1[\w-]{32}", query["id"][0])
