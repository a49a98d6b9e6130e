"""Transfers from a server on this computer: resumed at any byte, bounded, told from web pages."""

from __future__ import annotations

import gzip
import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from erragree_utils.benchmarks import transfer
from erragree_utils.benchmarks.archive import CHUNK
from erragree_utils.benchmarks.download import DownloadError, ensure
from erragree_utils.benchmarks.transfer import RemoteFile
from tests.benchmarks.serving import BODY, SHA256, Reply, Server, attachment, get, remote, started


def test_a_remote_file_has_one_address():
    with pytest.raises(ValueError, match="either url or drive_id"):
        RemoteFile("x")


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


def test_without_a_network_the_error_says_so(server: Server, tmp_path: Path):
    file = RemoteFile("f.bin", url="http://127.0.0.1:1/f.bin")  # nobody listens at port 1
    with pytest.raises(DownloadError, match=r"(?s)cannot be reached: is there a network.*by hand"):
        ensure(file, tmp_path)


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
