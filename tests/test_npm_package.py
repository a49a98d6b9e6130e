"""Packages for the page: fetched once, from the registry that is named, and none but the pinned."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import npm_package
import pytest
from npm_package import Package, PackageError, extract, fetch


@pytest.fixture
def archive() -> bytes:
    """A package of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        entry = tarfile.TarInfo("package/dist/it.js")
        entry.size = 5
        opened.addfile(entry, io.BytesIO(b"hello"))
    return buffer.getvalue()


@pytest.fixture
def package(archive) -> Package:
    """That package, pinned."""
    return Package("it", "1.0.0", base64.b64encode(hashlib.sha512(archive).digest()).decode())


@pytest.fixture
def registry(archive, tmp_path, monkeypatch):
    """A registry on this machine that has it; npm is not there. Lists what was asked of it."""
    (tmp_path / "registry" / "it" / "-").mkdir(parents=True)
    (tmp_path / "registry" / "it" / "-" / "it-1.0.0.tgz").write_bytes(archive)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            asked.append(self.path)

    handler = partial(Handler, directory=tmp_path / "registry")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setenv(npm_package.VARIABLE, address)
    monkeypatch.setattr(npm_package.shutil, "which", lambda name: None)
    yield asked
    server.shutdown()


def test_a_package_is_fetched_once(registry, package, tmp_path):
    cache = tmp_path / "cache"
    assert fetch(package, cache) == fetch(package, cache) == cache / "it-1.0.0.tgz"
    assert registry == ["/it/-/it-1.0.0.tgz"]
    extract(cache / "it-1.0.0.tgz", {"dist/it.js": "page.js"}, tmp_path / "out")
    assert (tmp_path / "out" / "page.js").read_bytes() == b"hello"


def test_another_archive_than_the_pinned_is_refused_and_not_kept(registry, tmp_path):
    with pytest.raises(PackageError, match="it-1.0.0.tgz is not the archive that was pinned"):
        fetch(Package("it", "1.0.0", "AAAA"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_archive_is_fetched_again(registry, package, tmp_path, archive):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "it-1.0.0.tgz").write_bytes(archive[:-1])
    assert fetch(package, tmp_path / "cache").read_bytes() == archive


def test_what_is_not_to_be_had_is_said_in_one_line(registry, tmp_path):
    with pytest.raises(PackageError, match="other-2.tgz could not be fetched") as caught:
        fetch(Package("other", "2", "AAAA"), tmp_path / "cache")
    assert npm_package.VARIABLE in str(caught.value) and "\n" not in str(caught.value)


def test_where_npm_is_installed_it_fetches(package, archive, tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tmp_path / "it.tgz").write_bytes(archive)
    npm = tools / "npm"
    npm.write_text(f'#!/bin/sh\n[ "$2" = "it@1.0.0" ] && /bin/cp {tmp_path}/it.tgz it-1.0.0.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    assert fetch(package, tmp_path / "cache").read_bytes() == archive
    npm.write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    with pytest.raises(PackageError, match="npm could not fetch it-2.tgz: no network"):
        fetch(Package("it", "2", "AAAA"), tmp_path / "cache")
