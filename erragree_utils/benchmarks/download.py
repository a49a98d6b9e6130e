"""Fetching published files: resumable, checked, and unpacked so that nothing half-done looks whole.

A file is fetched into ``NAME.part`` and renamed when its size and checksum are right; an archive is
unpacked into a hidden folder that is renamed when every member is there. A killed run can
therefore be started again, and what stands under its final name is complete.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import requests
from filelock import FileLock
from tqdm.auto import tqdm

from erragree_utils.benchmarks.base import BenchmarkError

RETRIES = 3  # after a dropped connection or a 5xx answer
WAIT_S = 1.0  # before the first retry; doubles
TIMEOUT_S = (15, 60)  # to connect, between two bytes
CHUNK = 1 << 16
_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # no quotas on Windows

_STATUS = {
    401: "the server asks for a login (401): the file is not public, or no longer",
    403: "the server refuses access (403): the file is not public, or this network is blocked",
    404: "the server does not know the file (404): it was moved or removed",
    410: "the file was removed from the server (410)",
    429: "the server has had too many requests (429): wait an hour and try again",
}


class DownloadError(RuntimeError):
    """A file could not be fetched or unpacked; the message says how to get it by hand."""


class _Failure(Exception):
    """Why a file could not be fetched; `fetch` adds what to do."""


class _Dropped(_Failure):
    """A failure that may pass: worth another try from where it stopped."""


class _Unusable(_Failure):
    """What came is not what was wanted, and going on from it is no use."""


class ArchiveError(_Unusable):
    """An archive is damaged, or is not one we unpack."""


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


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to before it counts as a bomb.

    Parameters
    ----------
    max_bytes : int
        Unpacked bytes in all.
    max_members : int
        Files and folders.
    max_ratio : float
        Unpacked bytes per packed byte (photos: about 1); counts above `free_bytes`.
    free_bytes : int
        Unpacked bytes that are allowed whatever the ratio.
    """

    max_bytes: int = 64 << 30
    max_members: int = 500_000
    max_ratio: float = 50.0
    free_bytes: int = 64 << 20

    def budget(self, packed: int) -> int:
        """Bytes that an archive of `packed` bytes may unpack to."""
        return int(min(self.max_bytes, max(self.free_bytes, self.max_ratio * packed)))


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
            except _Unusable as failure:
                # What we fetched is dropped, or the next run would stumble over it again.
                if not by_hand:
                    (folder / remote.name).unlink(missing_ok=True)
                    raise
                raise _Failure(f"{failure}. The file was there before: delete it") from failure
    except _Failure as failure:
        raise DownloadError(
            f"{remote.name} could not be had: {failure}.\n"
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
        raise _Failure(
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
        if remote.drive_id:
            _from_drive(remote, part, progress)
        else:
            _from_url(remote, part, progress)
        try:
            _verify(part, remote)
        except _Unusable:
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
        if error.errno in _DISK_FULL:
            raise _Failure(f"there is no space left in {folder}") from error
        raise _Failure(f"a file in {folder} cannot be read or written ({error})") from error


def _verify(path: Path, remote: RemoteFile) -> None:
    size = path.stat().st_size
    if size == 0:
        raise _Unusable(f"{path} is empty")
    with path.open("rb") as file:
        if _is_page(file.read(1024)):
            raise _Unusable(f"{path} is a web page (a login, quota or error page), not the file")
    if remote.size is not None and size != remote.size:
        raise _Unusable(f"{path} has {size} bytes instead of {remote.size}")
    if remote.sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != remote.sha256:
            raise _Unusable(f"{path} has the checksum {found} instead of {remote.sha256} (SHA-256)")


def _is_page(head: bytes) -> bool:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml"))


# --- plain addresses ---------------------------------------------------------------------------


def _from_url(remote: RemoteFile, part: Path, progress: bool) -> None:
    for attempt in range(RETRIES + 1):
        if attempt:
            time.sleep(WAIT_S * 2 ** (attempt - 1))
        try:
            return _one_request(remote, part, progress)
        except _Dropped as failure:
            last = failure
    raise _Failure(f"{last}; {RETRIES} more tries did not help. What has come is kept in {part}")


def _one_request(remote: RemoteFile, part: Path, progress: bool) -> None:
    start, headers = _resume_point(remote, part)
    if remote.size is not None and start == remote.size:
        return
    try:
        with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                return _after_416(answer, part, start)
            _check_status(answer)
            _check_page(answer)
            start = _resumed_at(answer, start)
            total = _total(answer, start)
            if remote.size is not None and total not in (None, remote.size):
                raise _Failure(f"the server offers {total} bytes instead of {remote.size}")
            _write(answer, remote.name, part, start, total, progress)
    except requests.RequestException as error:
        raise _Failure(
            f"{remote.url} cannot be reached: is there a network, does it need a proxy? ({error})"
        ) from error
    size = part.stat().st_size
    expected = remote.size if remote.size is not None else total
    if expected is not None and size < expected:
        raise _Dropped(f"the connection ended after {size} of {expected} bytes")


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


def _check_status(answer: requests.Response) -> None:
    code = answer.status_code
    if code in (200, 206):
        return
    if code >= 500:
        raise _Dropped(f"the server has a problem of its own ({code} {answer.reason})")
    raise _Failure(_STATUS.get(code, f"the server answered {code} {answer.reason}"))


def _check_page(answer: requests.Response) -> None:
    if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise _Failure("the server sent a web page (a login, quota or error page), not the file")


def _resumed_at(answer: requests.Response, start: int) -> int:
    if answer.status_code != 206:
        return 0
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    if unit != "bytes" or span.partition("-")[0] != str(start):
        raise _Failure(f"the server sent another part of the file than the one from byte {start}")
    return start


def _total(answer: requests.Response, start: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _after_416(answer: requests.Response, part: Path, start: int) -> None:
    """The server has nothing after `start`: the file is complete, or is another one now."""
    if answer.headers.get("Content-Range", "") == f"bytes */{start}":
        return
    _forget(part)
    raise _Dropped("the server's file is shorter than what had come before")


def _write(
    answer: requests.Response,
    name: str,
    part: Path,
    start: int,
    total: int | None,
    progress: bool,
) -> None:
    validator = answer.headers.get("ETag", "")
    if not validator or validator.startswith("W/"):  # a weak one does not promise equal bytes
        validator = answer.headers.get("Last-Modified", "")
    with part.open("ab" if start else "wb") as file:
        _tag_file(part).write_text(validator, encoding="utf-8")
        bar = tqdm(
            desc=name,
            total=total,
            initial=start,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=not progress,
        )
        with bar:
            try:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            except requests.RequestException as error:
                raise _Dropped(f"the connection was lost ({error})") from error


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


# --- Google Drive ------------------------------------------------------------------------------


def _from_drive(remote: RemoteFile, part: Path, progress: bool) -> None:
    before = _drive_parts(part)
    try:
        _call_gdown(remote, part, progress)
    except _Dropped:
        # gdown keeps a partial file that the server will not continue, and would fail on it for
        # ever: one that did not grow is dropped, and the file is fetched from the start.
        if not before or _drive_parts(part) != before:
            raise
        for path in before:
            path.unlink()
        _call_gdown(remote, part, progress)


def _drive_parts(part: Path) -> dict[Path, int]:
    """gdown's own partial files (our name, a random infix, ``.part``) and their sizes."""
    found = part.parent.glob(f"{part.name}*.part")
    return {path: path.stat().st_size for path in found if path != part}


def _call_gdown(remote: RemoteFile, part: Path, progress: bool) -> None:
    import gdown

    try:
        gdown.download(
            id=remote.drive_id,
            output=str(part),
            quiet=not progress,
            use_cookies=False,
            resume=True,
            retries=RETRIES,
            timeout=TIMEOUT_S,
        )
    except gdown.exceptions.FileURLRetrievalError as error:
        reason = " ".join(str(error).split())
        raise _Failure(
            "Google Drive gave a web page instead of the file: it is over its download quota (wait "
            f"a day), not public, or removed. Its words: {reason}"
        ) from error
    except requests.HTTPError as error:
        _check_status(error.response)
        raise
    except (gdown.exceptions.DownloadError, requests.RequestException) as error:
        raise _Dropped(
            f"Google Drive cannot be reached or the connection was lost: is there a network, does "
            f"it need a proxy? ({error})"
        ) from error
    except KeyError as error:  # gdown takes a Content-Type for granted
        raise _Failure(f"Google Drive's answer lacks the header {error}") from error


# --- archives ----------------------------------------------------------------------------------


def unpack(archive: Path, target: Path, limits: Limits, progress: bool = False) -> None:
    """Unpack a zip or tar archive to a folder that appears only when it is complete.

    Parameters
    ----------
    archive : pathlib.Path
        zip, or tar (plain, gzip, bzip2, xz); told by its content, not its name.
    target : pathlib.Path
        The folder to make. The archive holds a folder of this name, or its files directly.
    limits : Limits
    progress : bool
        Show a progress bar.

    Raises
    ------
    ArchiveError
        If the archive is damaged, exceeds the limits, has links, special or encrypted members, or
        members outside of the folder, or does not hold what is expected.
    """
    temporary = target.parent / f".{target.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    try:
        with _archive_errors(archive):
            temporary.mkdir(parents=True)
            _unpack_into(archive, temporary, limits, progress)
            os.replace(_folder_inside(temporary, target.name, archive), target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    broken = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
    try:
        yield
    except (*broken, NotImplementedError) as error:
        raise ArchiveError(f"the archive {archive} is damaged or not whole ({error})") from error
    except OSError as error:
        if error.errno is None:  # from gzip or bz2, about the data
            raise ArchiveError(f"the archive {archive} is damaged ({error})") from error
        if error.errno in _DISK_FULL:
            raise _Failure(f"there is no space left to unpack {archive}") from error
        raise _Failure(f"the archive {archive} cannot be unpacked ({error})") from error


def _unpack_into(archive: Path, folder: Path, limits: Limits, progress: bool) -> None:
    budget = limits.budget(archive.stat().st_size)
    with archive.open("rb") as file:
        head = file.read(1024)
        file.seek(0)
        bar = tqdm(desc=f"unpacking {archive.name}", unit=" files", disable=not progress)
        with bar:
            if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                _unpack_zip(file, folder, limits, budget, bar)
            elif _is_page(head):
                raise ArchiveError(f"{archive} is a web page, not an archive")
            else:
                _unpack_tar(file, head, folder, limits, budget, bar)


def _unpack_zip(file: BinaryIO, folder: Path, limits: Limits, budget: int, bar: tqdm) -> None:
    with zipfile.ZipFile(file) as bundle:
        members = bundle.infolist()
        if len(members) > limits.max_members:
            raise ArchiveError(f"the archive has more than {limits.max_members} members")
        if sum(member.file_size for member in members) > budget:
            raise _bomb(budget)
        for member in members:
            mode = stat.S_IFMT(member.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(f"the archive has a link or special file: {member.filename!r}")
            if member.flag_bits & 1:
                raise ArchiveError(f"the archive has an encrypted file: {member.filename!r}")
            place = _place(folder, member.filename)
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            with bundle.open(member) as source:
                _copy(source, place, member.file_size, member.filename)
            bar.update()


def _unpack_tar(
    file: BinaryIO, head: bytes, folder: Path, limits: Limits, budget: int, bar: tqdm
) -> None:
    # Padding and headers count too: a tar file has at least 512 bytes of them for each member.
    stream = _Capped(_decompressed(file, head), budget + 2048 * limits.max_members, budget)
    unpacked = 0
    with tarfile.open(fileobj=stream, mode="r:") as bundle:
        for number, member in enumerate(bundle, 1):
            if number > limits.max_members:
                raise ArchiveError(f"the archive has more than {limits.max_members} members")
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise ArchiveError(f"the archive has a link or special file: {member.name!r}")
            place = _place(folder, member.name)
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            unpacked += member.size
            if unpacked > budget:
                raise _bomb(budget)
            _copy(bundle.extractfile(member), place, member.size, member.name)
            bar.update()
        _check_tar_end(stream, bundle.offset)


def _check_tar_end(stream: _Capped, offset: int) -> None:
    """tarfile takes a broken header for the end; the real end is zeros up to the last byte."""
    stream.seek(offset)
    rest = stream.read(CHUNK)
    if not rest:
        raise EOFError("the end is missing")
    while rest:
        if rest.strip(b"\0"):
            raise tarfile.ReadError("a header is broken")
        rest = stream.read(CHUNK)


def _decompressed(file: BinaryIO, head: bytes) -> BinaryIO:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(file)
    return file


class _Capped(io.RawIOBase):
    """A stream read in small bites and up to a cap: no header can claim gigabytes of memory."""

    LONGEST_READ = 16 * CHUNK

    def __init__(self, stream: BinaryIO, cap: int, budget: int) -> None:
        super().__init__()
        self.stream, self.cap, self.budget = stream, cap, budget

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.LONGEST_READ or self.tell() > self.cap:
            raise _bomb(self.budget)
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset > self.cap:
            raise _bomb(self.budget)
        return self.stream.seek(offset)

    def tell(self) -> int:
        return self.stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _bomb(budget: int) -> ArchiveError:
    return ArchiveError(
        f"the archive would unpack to more than {budget} bytes, far more than its size lets expect"
    )


def _place(folder: Path, name: str) -> Path:
    """Where a member goes; refuses names that lead out of the folder."""
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or drive:
        raise ArchiveError(f"the archive has a member outside of its folder: {name!r}")
    return folder.joinpath(*path.parts)


def _copy(source: BinaryIO, place: Path, size: int, name: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        target = place.open("xb")
    except FileExistsError:
        raise ArchiveError(f"the archive has two members named {name!r}") from None
    copied = 0
    with source, target:
        while chunk := source.read(CHUNK):
            copied += len(chunk)
            target.write(chunk)
    if copied != size:
        raise EOFError(f"{name!r} has {copied} bytes instead of {size}")


def _folder_inside(unpacked: Path, name: str, archive: Path) -> Path:
    """The folder called `name`, nearest to the top; or the top itself, if files lie there."""
    found = sorted(
        (path for path in unpacked.rglob(name) if path.is_dir() and any(path.iterdir())),
        key=lambda path: len(path.parts),
    )
    if found:
        return found[0]
    top = sorted(path.name for path in unpacked.iterdir())
    if any((unpacked / entry).is_file() for entry in top):
        return unpacked
    raise ArchiveError(f"the archive {archive} has no folder {name!r}, it has {top[:10]}")
