"""A real browser, and the built book on a server of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.visits import Visit
from tests.building import whole_book

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no browser tests: playwright is not installed (make install)"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium: playwright's own, or else the system's."""
    # As root, Chromium's sandbox does not start; the pages are our own.
    options = {"args": ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []}
    own = [path for path in map(shutil.which, BROWSERS) if path]
    with sync_api.sync_playwright() as playwright:
        for choice in [{}, *({"executable_path": path} for path in own)]:
            with contextlib.suppress(sync_api.Error):
                started = playwright.chromium.launch(**options, **choice)
                break
        else:
            pytest.skip("no browser tests: there is no Chromium (playwright install chromium)")
        yield started
        started.close()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture(scope="session")
def html(browser, tmp_path_factory) -> Path:
    """The whole book's pages; asks for a browser first, since without one none is needed."""
    return whole_book(tmp_path_factory)


@pytest.fixture(scope="session")
def address(html) -> Iterator[str]:
    """Where the book is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def visit(browser, address) -> Iterator[Callable[..., Visit]]:
    """Opens a page of the book, at a width in pixels, light or dark, with scripts or without."""
    contexts = []

    def open_page(page: str, width: int = 1440, theme: str = "light", scripts: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme,
            java_script_enabled=scripts, reduced_motion="reduce",
        )  # fmt: skip
        contexts.append(context)
        return Visit(context.new_page(), f"{address}/{page}.html", address)

    yield open_page
    for context in contexts:
        context.close()
