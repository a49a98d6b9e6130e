"""Unpacks archives safely: no member outside, no links, no bombs, and never half-done.

An archive is unpacked into a hidden folder that is renamed when every member is there.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm.auto import tqdm

CHUNK = 1 << 16
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # no quotas on Windows
# What an archive may unpack to before it counts as a bomb. Photos unpack to about their own size.
MAX_MEMBERS = 500_000
MAX_BYTES = 64 << 30
MAX_RATIO = 50  # unpacked bytes per packed byte, once they are more than FREE_BYTES
FREE_BYTES = 64 << 20

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


class Failure(Exception):
    """Why we couldn't get a file; `download.ensure` adds what to do."""


class Unusable(Failure):
    """We got something else than we asked for, so there's no point in resuming."""


class ArchiveError(Unusable):
    """An archive is damaged, or is not one we unpack."""


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip or tar archive to a folder that appears only when it is complete.

    The format (zip, tar, tar.gz) shows in the content, not in the name. The archive holds a folder
    named as `target`, or its files directly.

    Raises
    ------
    ArchiveError
        If it is damaged or a bomb, has links, special or encrypted members or members outside of
        the folder, or does not hold what is expected.
    """
    temporary = target.parent / f".{target.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    try:
        with _archive_errors(archive):
            temporary.mkdir(parents=True)
            _unpack_into(temporary, archive)
            os.replace(_folder_inside(temporary, target.name, archive), target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise ArchiveError(f"the archive {archive} is damaged or not whole ({error})") from error
    except OSError as error:
        if error.errno is None:  # from gzip, about the data
            raise ArchiveError(f"the archive {archive} is damaged ({error})") from error
        if error.errno in DISK_FULL:
            raise Failure(f"there is no space left to unpack {archive}") from error
        raise Failure(f"the archive {archive} cannot be unpacked ({error})") from error


def _unpack_into(folder: Path, archive: Path) -> None:
    budget = int(min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * archive.stat().st_size)))
    with archive.open("rb") as file:
        head = file.read(1024)
        file.seek(0)
        if is_page(head):
            raise ArchiveError(f"{archive} is a web page, not an archive")
        zipped = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
        unzipped = gzip.GzipFile(fileobj=file) if head.startswith(b"\x1f\x8b") else file
        members = _zip_members(file, budget) if zipped else _tar_members(unzipped, budget)
        bar = tqdm(members, desc=f"unpacking {archive.name}", unit=" files")
        for number, (name, size, source) in enumerate(bar, 1):
            if number > MAX_MEMBERS:
                raise ArchiveError(f"the archive has more than {MAX_MEMBERS} members")
            place = _place(folder, name)
            if source is None:
                place.mkdir(parents=True, exist_ok=True)
            else:
                _copy(source, place, size, name)


#: Name, size and content of a member; the content of a folder is None.
_Member = tuple[str, int, BinaryIO | None]


def _zip_members(file: BinaryIO, budget: int) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as bundle:
        members = bundle.infolist()
        if sum(member.file_size for member in members) > budget:
            raise _bomb(budget)
        for member in members:
            mode = stat.S_IFMT(member.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(f"the archive has a link or special file: {member.filename!r}")
            if member.flag_bits & 1:
                raise ArchiveError(f"the archive has an encrypted file: {member.filename!r}")
            source = None if member.is_dir() else bundle.open(member)
            yield member.filename, member.file_size, source


def _tar_members(file: BinaryIO, budget: int) -> Iterator[_Member]:
    # Padding and headers count too: a tar file has at least 512 bytes of them for each member.
    stream = _Capped(file, budget + 2048 * MAX_MEMBERS, budget)
    unpacked = 0
    with tarfile.open(fileobj=stream, mode="r:") as bundle:
        for member in bundle:
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise ArchiveError(f"the archive has a link or special file: {member.name!r}")
            unpacked += member.size
            if unpacked > budget:
                raise _bomb(budget)
            yield member.name, member.size, bundle.extractfile(member)
        # tarfile takes a broken header for the end; the real end is zeros up to the last byte.
        stream.seek(bundle.offset)
        rest = stream.read(CHUNK)
        if not rest:
            raise EOFError("the end is missing")
        while rest:
            if rest.strip(b"\0"):
                raise tarfile.ReadError("a header is broken")
            rest = stream.read(CHUNK)


class _Capped:
    """A stream read in small bites and up to a cap: no header can claim gigabytes of memory."""

    LONGEST_READ = 16 * CHUNK

    def __init__(self, stream: BinaryIO, cap: int, budget: int) -> None:
        self.stream, self.cap, self.budget = stream, cap, budget
        self.tell, self.seekable = stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.LONGEST_READ or self.tell() > self.cap:
            raise _bomb(self.budget)
        return self.stream.read(size)

    def seek(self, offset: int) -> int:
        if offset > self.cap:
            raise _bomb(self.budget)
        return self.stream.seek(offset)


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
    with source, target:
        shutil.copyfileobj(source, target, CHUNK)
        if target.tell() != size:
            raise EOFError(f"{name!r} has {target.tell()} bytes instead of {size}")


def _folder_inside(unpacked: Path, name: str, archive: Path) -> Path:
    """The folder called `name`, nearest to the top; or the top itself, if files lie there."""
    folders = [path for path in unpacked.rglob(name) if path.is_dir() and any(path.iterdir())]
    if folders:
        return min(folders, key=lambda path: len(path.parts))
    top = sorted(unpacked.iterdir())
    if any(path.is_file() for path in top):
        return unpacked
    names = [path.name for path in top[:10]]
    raise ArchiveError(f"the archive {archive} has no folder {name!r}, it has {names}")


def is_page(head: bytes) -> bool:
    """Whether a file that begins with `head` is a web page: a login, quota or error page."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml"))
