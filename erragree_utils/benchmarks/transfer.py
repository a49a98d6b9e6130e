"""Transfers a published file over a connection that may be slow, break, or send something else.

What has arrived is in ``NAME.part``, and the next request resumes there, provided that the server
or a checksum confirms that it's still the same file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.parse import urljoin

import requests
import urllib3
from gdown.download import get_url_from_gdrive_confirmation
from gdown.exceptions import FileURLRetrievalError
from tqdm.auto import tqdm

from .archive import CHUNK, Failure, Unusable

RETRIES = 3  # after a dropped connection or a 5xx answer, if the try before brought nothing
WAIT_S = 1.0  # before the first retry; doubles
TIMEOUT_S = (15, 60)  # to connect, between two bytes
PATIENCE_S, SLOWEST = 120, 1 << 14  # a file may take so long, and a second for so many bytes more
MAX_BYTES = 64 << 30  # where the size is not known
MAX_PAGE = 1 << 20  # of a page of Google Drive
MAX_HOPS = 10  # addresses that an address may lead to, one after the other
DRIVE_HEADERS = {"User-Agent": "Mozilla/5.0"}

_STATUS = {
    401: "the server asks for a login (401): the file is not public, or no longer",
    403: "the server refuses access (403): the file is not public, or this network is blocked",
    404: "the server does not know the file (404): it was moved or removed",
    410: "the file was removed from the server (410)",
    429: "the server has had too many requests (429): wait an hour and try again",
}


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Parameters
    ----------
    name : str
        Its name on disk.
    url, drive_id : str, optional
        Address for direct download, or Google Drive file id: one of the two.
    size, sha256 : int and str, optional
        Bytes, and checksum in hexadecimal, where they are known.
    unpacks_to : str, optional
        For an archive: the folder it holds, which takes its place.
    objects : bool
        Whether its rows are JSON objects, one a line or by number in one object; other lists of
        JSON are lists, and an object is the error of a server.
    """

    name: str
    url: str | None = None
    drive_id: str | None = None
    size: int | None = None
    sha256: str | None = None
    unpacks_to: str | None = None
    objects: bool = False

    def __post_init__(self) -> None:
        if (self.url is None) == (self.drive_id is None):
            raise ValueError(f"{self.name}: give either url or drive_id")

    @property
    def page(self) -> str:
        """The address to open in a browser."""
        return self.url or f"https://drive.google.com/file/d/{self.drive_id}/view"

    @property
    def result(self) -> str:
        """Name of the file, or of the folder it is unpacked to."""
        return self.unpacks_to or self.name


class _Dropped(Failure):
    """A failure that may pass: worth another try from where it stopped."""


class _Session(requests.Session):
    """One that leaves redirects to us: requests reads their bodies whole, even if told not to."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class Transfer:
    """A file's way into `part`, over as many requests as it takes."""

    def __init__(self, remote: RemoteFile, part: Path) -> None:
        self.remote, self.part = remote, part
        self.tag = part.with_name(f"{part.name}.tag")  # by which the server knows the version
        self.session, self.began, self.gained = _Session(), time.monotonic(), 0

    def run(self) -> None:
        """Fetch until it's complete; raises Failure if we can't get it."""
        vain = 0
        with self.session:
            while vain <= RETRIES:
                before = self._size()
                try:
                    return self._request()
                except _Dropped as failure:
                    last = failure
                # A try that brought something on is not in vain, however often the line is cut.
                vain = 0 if self._size() > before else vain + 1
                self._check_pace()
                if 0 < vain <= RETRIES:
                    time.sleep(WAIT_S * 2 ** (vain - 1))
        raise Failure(
            f"{last}; {RETRIES} more tries did not help. What has come is kept in {self.part}"
        )

    def forget(self) -> None:
        """Delete the note on the version, and what has come if it is still there."""
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _request(self) -> None:
        """One request for what is lacking."""
        # Byte offsets must count the bytes of the file, not of a compressed transfer.
        headers, size = {"Accept-Encoding": "identity"}, self.remote.size
        version = self.tag.read_text(encoding="utf-8") if self.tag.exists() else ""
        # Without a version or a checksum, a file that has changed since would be glued to the old.
        if not (version or self.remote.sha256) or (size is not None and self._size() > size):
            self.forget()
        start = self._size()
        if start and start == size:
            return
        if start:
            headers["Range"] = f"bytes={start}-"
            if version:
                headers["If-Range"] = version
        address = self.remote.url
        if address is None:
            headers, address = headers | DRIVE_HEADERS, self._drive_address()
        with self._get(address, headers) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range") == f"bytes */{start}":  # it is complete
                    return
                self.forget()
                raise _Dropped("the server's file is shorter than what had come before")
            _check(answer)
            if answer.status_code != 206:
                start = 0
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise Failure(f"the server sent another part of the file than from byte {start} on")
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() else None
            if total is not None and size not in (None, total):
                raise Failure(f"the server offers {total} bytes instead of {size}")
            if total is not None and total > MAX_BYTES:
                raise Failure(f"the server offers {total} bytes; more than {MAX_BYTES} is refused")
            self._write(answer, start, total)
        expected = size if size is not None else total
        if expected is not None and self._size() < expected:
            raise _Dropped(f"the connection was lost after {self._size()} of {expected} bytes")

    def _write(self, answer: requests.Response, start: int, total: int | None) -> None:
        version = answer.headers.get("ETag", "")
        if not version or version.startswith("W/"):  # a weak one does not promise equal bytes
            version = answer.headers.get("Last-Modified", "")
        self.tag.write_text(version, encoding="utf-8")
        bar = tqdm(
            desc=self.remote.name, total=total, initial=start, unit="B", unit_scale=True,
            unit_divisor=1024,
        )  # fmt: skip
        with bar, self.part.open("ab" if start else "wb") as file:
            for chunk in self._chunks(answer, (self.remote.size or MAX_BYTES) - start):
                file.write(chunk)
                bar.update(len(chunk))

    def _drive_address(self) -> str:
        """Where Google Drive has the file: behind a page that asks to confirm, or at once."""
        address = f"https://drive.google.com/uc?id={self.remote.drive_id}"
        with self._get(address, {"Accept-Encoding": "identity"} | DRIVE_HEADERS) as answer:
            if not (answer.ok and _is_html(answer) and "Content-Disposition" not in answer.headers):
                return address
            page = b"".join(self._chunks(answer, MAX_PAGE))
        try:
            return get_url_from_gdrive_confirmation(page.decode("utf-8", "replace"))
        except FileURLRetrievalError as error:
            raise Failure(
                "Google Drive gave a web page instead of the file: it is over its download quota "
                f"(wait a day), not public, or removed. It says: {' '.join(str(error).split())}"
            ) from error

    def _get(self, address: str, headers: dict[str, str]) -> requests.Response:
        """The answer to a request, its body unread, after a few redirects at most."""
        for _ in range(MAX_HOPS + 1):
            answer = self._answer(address, headers)
            target = requests.Session.get_redirect_target(self.session, answer)
            if target is None:
                return answer
            answer.close()  # unread
            address = urljoin(answer.url, target)
        raise Failure(f"the server sends us on more than {MAX_HOPS} times, at last to {address}")

    def _answer(self, address: str, headers: dict[str, str]) -> requests.Response:
        """One answer. TIMEOUT_S starts anew with each byte of its head: hence a thread to leave."""
        future: Future[requests.Response] = Future()

        def ask() -> None:
            try:
                future.set_result(
                    self.session.get(address, headers=headers, stream=True, timeout=TIMEOUT_S)
                )
            except Exception as error:
                future.set_exception(error)

        Thread(target=ask, daemon=True).start()
        try:
            return future.result(max(0.0, self._seconds_left()))
        except TimeoutError:
            future.add_done_callback(lambda late: late.exception() or late.result().close())
            self._check_pace()
            raise Failure("the line is too slow: no whole answer has come") from None
        except requests.RequestException as error:
            raise Failure(
                f"the server cannot be reached: is there a network, does it need a proxy? ({error})"
            ) from error

    def _chunks(self, answer: requests.Response, room: int) -> Iterator[bytes]:
        """What comes, as it comes, so that a cut loses nothing; not unpacked."""
        try:
            while chunk := answer.raw.read1(CHUNK, decode_content=False):
                room -= len(chunk)
                if room < 0:
                    raise Unusable("more came than the file or page can be long")
                yield chunk
                self.gained += len(chunk)
                self._check_pace()
        except urllib3.exceptions.HTTPError as error:
            raise _Dropped(f"the connection was lost ({error})") from error

    def _seconds_left(self) -> float:
        """Until the line is too slow, if nothing more comes; all requests together."""
        return PATIENCE_S + self.gained / SLOWEST - (time.monotonic() - self.began)

    def _check_pace(self) -> None:
        if self._seconds_left() < 0:
            raise Failure(
                f"the line is too slow: {self.gained} bytes in {time.monotonic() - self.began:.0f} "
                "s. What has come is kept, and the next call goes on from there"
            )


def _check(answer: requests.Response) -> None:
    code = answer.status_code
    if code >= 500:
        raise _Dropped(f"the server has a problem of its own ({code} {answer.reason})")
    if code not in (200, 206):
        raise Failure(_STATUS.get(code, f"the server answered {code} {answer.reason}"))
    if _is_html(answer):
        raise Failure("the server sent a web page (a login, quota or error page), not the file")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in ("", "identity"):  # a few bytes may unfold to gigabytes
        raise Failure(f"the server sends the file packed ({encoding!r}), which we did not ask for")


def _is_html(answer: requests.Response) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")
