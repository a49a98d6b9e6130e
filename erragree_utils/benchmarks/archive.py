"""Archives, unpacked safely: no member outside, no links, no bombs, nothing half-done looks whole.

An archive is unpacked into a hidden folder that is renamed when every member is there.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm.auto import tqdm

CHUNK = 1 << 16
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # no quotas on Windows


class Failure(Exception):
    """Why a file could not be had; `download.ensure` adds what to do."""


class Unusable(Failure):
    """What came is not what was wanted, and going on from it is no use."""


class ArchiveError(Unusable):
    """An archive is damaged, or is not one we unpack."""


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
        if error.errno in DISK_FULL:
            raise Failure(f"there is no space left to unpack {archive}") from error
        raise Failure(f"the archive {archive} cannot be unpacked ({error})") from error


def _unpack_into(archive: Path, folder: Path, limits: Limits, progress: bool) -> None:
    budget = limits.budget(archive.stat().st_size)
    with archive.open("rb") as file:
        head = file.read(1024)
        file.seek(0)
        bar = tqdm(desc=f"unpacking {archive.name}", unit=" files", disable=not progress)
        with bar:
            if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                _unpack_zip(file, folder, limits, budget, bar)
            elif is_page(head):
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


def is_page(head: bytes) -> bool:
    """Whether a file that begins with `head` is a web page: a login, quota or error page."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml"))
