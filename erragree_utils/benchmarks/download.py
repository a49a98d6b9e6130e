"""Fetches published files, resumably and checked, so that nothing half-done looks whole.

A file is fetched into ``NAME.part`` and renamed when its size and checksum are right. So a killed
run can be started again, and a file under its final name is always complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from .archive import DISK_FULL, Failure, Unusable, is_page, unpack
from .transfer import RemoteFile, Transfer


class DownloadError(RuntimeError):
    """A file could not be fetched or unpacked; the message says how to get it by hand."""


def cache_folder() -> Path:
    """Where downloads are kept: ``ERRAGREE_CACHE`` if set, else ``~/.cache/erragree``."""
    return Path(os.environ.get("ERRAGREE_CACHE") or "~/.cache/erragree").expanduser()


def ensure(remote: RemoteFile, folder: Path) -> Path:
    """The file, or the folder it unpacks to, in `folder`: fetched if it is not there yet.

    If you saved an archive there by hand, it's unpacked without a download. Several processes may
    call this at once: one works while the others wait. A DownloadError says what to do by hand.
    """
    target, file = folder / remote.result, folder / remote.name
    if target.exists():
        return target
    try:
        with _locked(folder, remote.name):
            if not target.exists():
                _have(remote, file, target)
    except Failure as failure:
        place = " from Google Drive" if remote.drive_id else ""
        packed = " (as it is: it is unpacked for you)" if remote.unpacks_to else ""
        raise DownloadError(
            f"{remote.name} could not be had{place}: {failure}.\nTo get it by hand, open "
            f"{remote.page} in a browser and save the file as {file}{packed}; then run the same "
            "line again."
        ) from failure
    return target


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


def _have(remote: RemoteFile, file: Path, target: Path) -> None:
    """Fetch what is not there, check it, unpack it; call with the lock held."""
    by_hand = file.exists()
    transfer = Transfer(remote, file.with_name(f"{file.name}.part"))
    try:
        if by_hand:
            _verify(file, remote)
        else:
            _fetch(remote, transfer, file)
        if remote.unpacks_to:
            unpack(file, target)
            file.unlink()
    except Unusable as failure:
        if by_hand:
            raise Failure(f"{failure}. The file was there before: delete it") from failure
        # What we fetched is dropped, or the next run would stumble over it again.
        transfer.forget()
        file.unlink(missing_ok=True)
        raise
    except OSError as error:
        if error.errno in DISK_FULL:
            raise Failure(f"there is no space left in {file.parent}") from error
        raise Failure(f"a file in {file.parent} cannot be read or written ({error})") from error


def _fetch(remote: RemoteFile, transfer: Transfer, file: Path) -> None:
    transfer.run()
    _verify(transfer.part, remote)
    os.replace(transfer.part, file)
    transfer.forget()


def _verify(path: Path, remote: RemoteFile) -> None:
    size = path.stat().st_size
    if size == 0:
        raise Unusable(f"{path} is empty")
    with path.open("rb") as file:
        head = file.read(1024)
    if is_page(head):
        raise Unusable(f"{path} is a web page (a login, quota or error page), not the file")
    if remote.sha256 is None:
        _check_json(path, head, remote.objects)
    if remote.size is not None and size != remote.size:
        raise Unusable(f"{path} has {size} bytes instead of {remote.size}")
    if remote.sha256 is not None:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != remote.sha256:
            raise Unusable(
                f"{path} has the checksum {checksum} instead of {remote.sha256} (SHA-256)"
            )


def _check_json(path: Path, head: bytes, objects: bool) -> None:
    """Published lists are lists, or `objects`; servers put their errors into JSON objects."""
    words, name = head[:200].decode("utf-8", "replace"), path.name.removesuffix(".part")
    if head.lstrip().startswith(b"{") and not objects:
        raise Unusable(f"{path} is a JSON object, such as an error of the server: {words}")
    if not name.endswith((".json", ".jsonl")):
        return
    try:
        if name.endswith(".json"):
            content = json.loads(path.read_bytes())
        else:
            content = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{path} is not JSON ({error}): {words}") from error
    if objects and not name.endswith(".jsonl") and isinstance(content, dict):
        content = list(content.values())
    if not isinstance(content, list):
        raise Unusable(f"{path} holds no JSON list: {words}")
    if objects and not (len(content) > 1 and all(isinstance(row, dict) for row in content)):
        raise Unusable(f"{path} holds no list of objects: {words}")
