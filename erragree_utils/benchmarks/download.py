"""Fetching published files: resumable and checked, so that nothing half-done looks whole.

A file is fetched into ``NAME.part`` and renamed when its size and checksum are right. A killed run
can therefore be started again, and what stands under its final name is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import requests
import urllib3
from filelock import FileLock
from gdown.download import get_url_from_gdrive_confirmation
from gdown.exceptions import FileURLRetrievalError
from tqdm.auto import tqdm

from .archive import CHUNK, DISK_FULL, Failure, Limits, Unusable, is_page, unpack
from .base import BenchmarkError

RETRIES = 3  # after a dropped connection or a 5xx answer, if the try before brought nothing
WAIT_S = 1.0  # before the first retry; doubles
TIMEOUT_S = (15, 60)  # to connect, between two bytes
PATIENCE_S, SLOWEST = 120, 1 << 14  # a file may take so long, and a second for so many bytes more
MAX_BYTES = 64 << 30  # where the size is not known
MAX_PAGE = 1 << 20  # of a page of Google Drive
MAX_HOPS = 10  # addresses that an address may lead to, one after the other

_STATUS = {
    401: "the server asks for a login (401): the file is not public, or no longer",
    403: "the server refuses access (403): the file is not public, or this network is blocked",
    404: "the server does not know the file (404): it was moved or removed",
    410: "the file was removed from the server (410)",
    429: "the server has had too many requests (429): wait an hour and try again",
}


class DownloadError(RuntimeError):
    """A file could not be fetched or unpacked; the message says how to get it by hand."""


class _Dropped(Failure):
    """A failure that may pass: worth another try from where it stopped."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Parameters
    ----------
    name : str
        Its name on disk.
    url : str, optional
        Address for direct download. Either this or `drive_id` is needed.
    drive_id : str, optional
        Google Drive file id.
    size : int, optional
        Bytes, if known.
    sha256 : str, optional
        Checksum in hexadecimal, if known.
    unpacks_to : str, optional
        For an archive: the folder it holds, which takes its place.
    """

    name: str
    url: str | None = None
    drive_id: str | None = None
    size: int | None = None
    sha256: str | None = None
    unpacks_to: str | None = None

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

    def by_hand(self, folder: Path) -> str:
        """What a person does when the download fails, as one sentence."""
        packed = " (as it is: it is unpacked for you)" if self.unpacks_to else ""
        return f"open {self.page} in a browser and save the file as {folder / self.name}{packed}"


def cache_folder() -> Path:
    """Where downloads are kept: ``ERRAGREE_CACHE`` if set, else ``~/.cache/erragree``."""
    return Path(os.environ.get("ERRAGREE_CACHE") or "~/.cache/erragree").expanduser()


def ensure(
    remote: RemoteFile, folder: Path, progress: bool = True, limits: Limits | None = None
) -> tuple[Path, bool]:
    """Have a published file (unpacked, if it is an archive) in a folder, fetching what is missing.

    An archive that was saved there by hand is unpacked without a download. Several processes may
    call this at once: one works, the others wait.

    Parameters
    ----------
    remote : RemoteFile
    folder : pathlib.Path
        Made if it does not exist.
    progress : bool
        Show progress bars.
    limits : Limits, optional
        For archives.

    Returns
    -------
    path : pathlib.Path
        The file, or the unpacked folder.
    fresh : bool
        Whether this call fetched or unpacked it.

    Raises
    ------
    DownloadError
        With the reason and what to do by hand.
    """
    target = folder / remote.result
    if target.exists():
        return target, False
    try:
        with _locked(folder, remote.name):
            if target.exists():
                return target, False
            by_hand = (folder / remote.name).exists()
            try:
                archive = _fetch(remote, folder, progress)
                if remote.unpacks_to:
                    unpack(archive, target, limits or Limits(), progress)
                    archive.unlink()
            except Unusable as failure:
                # What we fetched is dropped, or the next run would stumble over it again.
                if not by_hand:
                    (folder / remote.name).unlink(missing_ok=True)
                    raise
                raise Failure(f"{failure}. The file was there before: delete it") from failure
    except Failure as failure:
        place = " from Google Drive" if remote.drive_id else ""
        raise DownloadError(
            f"{remote.name} could not be had{place}: {failure}.\n"
            f"To get it by hand, {remote.by_hand(folder)}; then run the same line again."
        ) from failure
    return target, True


def published_folder(
    remotes: Sequence[RemoteFile], cache: str, folder: str | Path | None, download: bool, page: str
) -> Path:
    """The folder that holds the given published files, fetched if need be.

    Parameters
    ----------
    remotes : sequence of RemoteFile
        What has to be there; archives as the folders they hold.
    cache : str
        Folder below `cache_folder` to use where `folder` is None.
    folder : str or pathlib.Path, optional
        A local copy, which is only read; its ``data`` folder is looked into as well.
    download : bool
        Whether what the cache lacks may be fetched.
    page : str
        Address of the project that publishes the files, for messages.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    BenchmarkError
        If something is missing and is not to be fetched; the message says what goes where.
    DownloadError
        If something could not be fetched.
    """
    if folder is None and download:
        root = cache_folder() / cache
        for remote in remotes:
            ensure(remote, root)
        return root
    root = cache_folder() / cache if folder is None else Path(folder).expanduser()
    if not (root / remotes[0].result).exists() and (root / "data").is_dir():
        root = root / "data"  # a checkout of the publisher's repository
    missing = [remote for remote in remotes if not (root / remote.result).exists()]
    if missing:
        raise BenchmarkError(_what_goes_where(missing, root, page, local=folder is not None))
    return root


def _what_goes_where(missing: list[RemoteFile], root: Path, page: str, local: bool) -> str:
    lines = [f"the folder {root} " + ("lacks:" if root.is_dir() else "does not exist. Needed:")]
    for remote in missing:
        unpack_it = f", to be unpacked in {root}" if remote.unpacks_to else ""
        lines.append(f"  {remote.result}  <- {remote.name} from {remote.page}{unpack_it}")
    other = "leave folder out" if local else "give download=True"
    lines.append(f"The files are described at {page}. To have them fetched, {other}.")
    return "\n".join(lines)


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{name}.lock")
        lock.acquire()
    except OSError as error:
        raise Failure(
            f"the folder {folder} cannot be written ({error}); the environment variable "
            "ERRAGREE_CACHE moves the cache to another place"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _fetch(remote: RemoteFile, folder: Path, progress: bool) -> Path:
    """The file itself, checked; call with the lock held."""
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.exists():
        _verify(target, remote)
        return target
    with _disk_errors(folder):
        try:
            _transfer(remote, part, progress)
            _verify(part, remote)
        except Unusable:
            _forget(part)
            raise
        os.replace(part, target)
        _forget(part)
    return target


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise Failure(f"there is no space left in {folder}") from error
        raise Failure(f"a file in {folder} cannot be read or written ({error})") from error


def _verify(path: Path, remote: RemoteFile) -> None:
    size = path.stat().st_size
    if size == 0:
        raise Unusable(f"{path} is empty")
    with path.open("rb") as file:
        head = file.read(1024)
    if is_page(head):
        raise Unusable(f"{path} is a web page (a login, quota or error page), not the file")
    if remote.sha256 is None:
        _check_json(path, remote, head)
    if remote.size is not None and size != remote.size:
        raise Unusable(f"{path} has {size} bytes instead of {remote.size}")
    if remote.sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != remote.sha256:
            raise Unusable(f"{path} has the checksum {found} instead of {remote.sha256} (SHA-256)")


def _check_json(path: Path, remote: RemoteFile, head: bytes) -> None:
    """Published lists are JSON lists; servers put their errors into JSON objects."""
    words = head[:200].decode("utf-8", "replace")
    if head.lstrip().startswith(b"{"):
        raise Unusable(f"{path} is a JSON object, such as an error of the server: {words}")
    if remote.name.endswith(".json"):
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise Unusable(f"{path} is not JSON ({error}): {words}") from error
        if not isinstance(found, list):
            raise Unusable(f"{path} holds no JSON list: {words}")


# --- fetching ------------------------------------------------------------------------------------


class _Session(requests.Session):
    """One that leaves redirects to us: requests reads their bodies whole, even if told not to."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None

    def target(self, answer: requests.Response) -> str | None:
        """Where an answer sends us."""
        target = super().get_redirect_target(answer)
        return None if target is None else urljoin(answer.url, target)


class _Line:
    """A line to a server: its session, and how much has come in how much time, tries together."""

    def __init__(self) -> None:
        self.session, self.began, self.gained = _Session(), time.monotonic(), 0

    @property
    def left(self) -> float:
        """Seconds until it is too slow, if nothing more comes."""
        return PATIENCE_S + self.gained / SLOWEST - (time.monotonic() - self.began)

    def get(self, address: str, headers: dict[str, str]) -> requests.Response:
        """The answer to a request, its body unread, in time and after a few redirects at most.

        Raises
        ------
        Failure
        requests.RequestException
        """
        for _ in range(MAX_HOPS + 1):
            answer = self._answer(address, headers)
            target = self.session.target(answer)
            if target is None:
                return answer
            answer.close()  # unread
            address = target
        raise Failure(f"the server sends us on more than {MAX_HOPS} times, at last to {address}")

    def _answer(self, address: str, headers: dict[str, str]) -> requests.Response:
        """One answer. TIMEOUT_S starts anew with each byte of its head: hence a thread to leave."""
        lock, found, in_time = threading.Lock(), [], threading.Event()
        left = False

        def ask() -> None:
            try:
                answer = self.session.get(
                    address, headers=headers, stream=True, timeout=TIMEOUT_S, allow_redirects=False
                )
            except Exception as error:
                answer = error
            with lock:
                found.append(answer)
                in_time.set()
                if left and isinstance(answer, requests.Response):
                    answer.close()

        threading.Thread(target=ask, daemon=True).start()
        try:
            in_time.wait(max(0.0, self.left))
        finally:
            with lock:
                left = not found
        if left:
            self.take(0)
            raise Failure("the line is too slow: no whole answer has come")
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def take(self, n_bytes: int) -> None:
        """Note what has come; refuse a line that would go on for ever.

        Raises
        ------
        Failure
        """
        self.gained += n_bytes
        passed = time.monotonic() - self.began
        if self.left < 0:
            raise Failure(
                f"the line is too slow: {self.gained} bytes in {passed:.0f} s. What has come is "
                "kept, and the next call goes on from there"
            )


def _transfer(remote: RemoteFile, part: Path, progress: bool) -> None:
    line, vain = _Line(), 0
    with line.session:
        while vain <= RETRIES:
            before = part.stat().st_size if part.exists() else 0
            try:
                return _one_request(line, remote, part, progress)
            except _Dropped as failure:
                last = failure
            # A try that brought something on is not in vain, however often the line is cut.
            vain = 0 if part.exists() and part.stat().st_size > before else vain + 1
            line.take(0)
            if 0 < vain <= RETRIES:
                time.sleep(WAIT_S * 2 ** (vain - 1))
    raise Failure(f"{last}; {RETRIES} more tries did not help. What has come is kept in {part}")


def _one_request(line: _Line, remote: RemoteFile, part: Path, progress: bool) -> None:
    start, headers = _resume_point(remote, part)
    if remote.size is not None and start == remote.size:
        return
    try:
        with _opened(line, remote, headers) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                return _after_416(answer, part, start)
            _check_answer(answer)
            start = _resumed_at(answer, start)
            total = _total(answer, start)
            if remote.size is not None and total not in (None, remote.size):
                raise Failure(f"the server offers {total} bytes instead of {remote.size}")
            if total is not None and total > MAX_BYTES:
                raise Failure(f"the server offers {total} bytes; more than {MAX_BYTES} is refused")
            _write(line, answer, remote, part, start, total, progress)
    except requests.RequestException as error:
        raise Failure(
            f"the server cannot be reached: is there a network, does it need a proxy? ({error})"
        ) from error
    size = part.stat().st_size
    expected = remote.size if remote.size is not None else total
    if expected is not None and size < expected:
        raise _Dropped(f"the connection was lost after {size} of {expected} bytes")


@contextmanager
def _opened(
    line: _Line, remote: RemoteFile, headers: dict[str, str]
) -> Iterator[requests.Response]:
    """The answer to a request for the file."""
    address = remote.url
    if address is None:
        headers = headers | {"User-Agent": "Mozilla/5.0"}
        address = _drive_address(line, remote)
    with line.get(address, headers) as answer:
        yield answer


def _drive_address(line: _Line, remote: RemoteFile) -> str:
    """Where Google Drive has the file: behind a page that asks for a confirmation, or at once."""
    address = f"https://drive.google.com/uc?id={remote.drive_id}"
    headers = {"Accept-Encoding": "identity", "User-Agent": "Mozilla/5.0"}
    with line.get(address, headers) as answer:
        if not (answer.ok and _is_html(answer) and "Content-Disposition" not in answer.headers):
            return address
        page = b"".join(_chunks(line, answer, MAX_PAGE))
    try:
        return get_url_from_gdrive_confirmation(page.decode("utf-8", "replace"))
    except FileURLRetrievalError as error:
        raise Failure(
            "Google Drive gave a web page instead of the file: it is over its download quota (wait "
            f"a day), not public, or removed. Its words: {' '.join(str(error).split())}"
        ) from error


def _resume_point(remote: RemoteFile, part: Path) -> tuple[int, dict[str, str]]:
    """Where to go on, and the request headers for it."""
    # Byte offsets must count the bytes of the file, not of a compressed transfer.
    headers = {"Accept-Encoding": "identity"}
    start = part.stat().st_size if part.exists() else 0
    tag = _tag_file(part)
    validator = tag.read_text(encoding="utf-8") if tag.exists() else ""
    too_long = remote.size is not None and start > remote.size
    # Without a validator or a checksum, a file that has changed since would be glued to the old.
    if too_long or not (validator or remote.sha256):
        _forget(part)
        return 0, headers
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    return start, headers


def _check_answer(answer: requests.Response) -> None:
    code = answer.status_code
    if code >= 500:
        raise _Dropped(f"the server has a problem of its own ({code} {answer.reason})")
    if code not in (200, 206):
        raise Failure(_STATUS.get(code, f"the server answered {code} {answer.reason}"))
    if _is_html(answer):
        raise Failure("the server sent a web page (a login, quota or error page), not the file")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in ("", "identity"):  # a few bytes may unfold to gigabytes
        raise Failure(f"the server sends the file packed ({encoding!r}), which it was not asked to")


def _is_html(answer: requests.Response) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")


def _resumed_at(answer: requests.Response, start: int) -> int:
    if answer.status_code != 206:
        return 0
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    if unit != "bytes" or span.partition("-")[0] != str(start):
        raise Failure(f"the server sent another part of the file than the one from byte {start}")
    return start


def _total(answer: requests.Response, start: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _after_416(answer: requests.Response, part: Path, start: int) -> None:
    """The server has nothing after `start`: the file is complete, or is another one now."""
    if answer.headers.get("Content-Range", "") == f"bytes */{start}":
        return
    _forget(part)
    raise _Dropped("the server's file is shorter than what had come before")


def _write(
    line: _Line,
    answer: requests.Response,
    remote: RemoteFile,
    part: Path,
    start: int,
    total: int | None,
    progress: bool,
) -> None:
    validator = answer.headers.get("ETag", "")
    if not validator or validator.startswith("W/"):  # a weak one does not promise equal bytes
        validator = answer.headers.get("Last-Modified", "")
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(
            desc=remote.name, total=total, initial=start, unit="B", unit_scale=True,
            unit_divisor=1024, disable=not progress,
        ) as bar,
    ):  # fmt: skip
        _tag_file(part).write_text(validator, encoding="utf-8")
        for chunk in _chunks(line, answer, (remote.size or MAX_BYTES) - start):
            file.write(chunk)
            bar.update(len(chunk))


def _chunks(line: _Line, answer: requests.Response, room: int) -> Iterator[bytes]:
    """What comes, as it comes, so that a cut loses nothing; not unpacked."""
    try:
        while chunk := answer.raw.read1(CHUNK, decode_content=False):
            room -= len(chunk)
            if room < 0:
                raise Unusable("more came than the file or page can be long")
            yield chunk
            line.take(len(chunk))
    except urllib3.exceptions.HTTPError as error:
        raise _Dropped(f"the connection was lost ({error})") from error


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
