"""Fixtures that several test files about benchmarks share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from erragree_utils.benchmarks import transfer
from tests.benchmarks.serving import Server


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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERRAGREE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
