"""Archives become folders, whole or not at all, and nothing outside them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from erragree_utils.benchmarks import archive
from erragree_utils.benchmarks.archive import ArchiveError, unpack

CONTENT = {f"photos/{name}.jpeg": bytes([i]) * 700 for i, name in enumerate("abcdef")}


def tar_of(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as bundle:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes | zipfile.ZipInfo]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            if isinstance(content, zipfile.ZipInfo):
                bundle.writestr(content, "elsewhere")
            else:
                bundle.writestr(name, content)
    return buffer.getvalue()


PACKERS = {
    "zip": zip_of,
    "tar": tar_of,
    "tar.gz": lambda members: gzip.compress(tar_of(members)),
}


def unpack_bytes(content: bytes, folder: Path) -> Path:
    (folder / "archive").write_bytes(content)
    unpack(folder / "archive", folder / "photos")
    return folder / "photos"


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def leaves_nothing(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == ["archive"]


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("prefix", ["", "./", "data/"])
def test_an_archive_becomes_the_folder_it_holds(tmp_path: Path, kind: str, prefix: str):
    packed = PACKERS[kind]({prefix + name: data for name, data in CONTENT.items()})
    found = files_in(unpack_bytes(packed, tmp_path))
    assert {f"photos/{name}": data for name, data in found.items()} == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "photos"]


def test_an_archive_of_bare_files_becomes_the_folder(tmp_path: Path):
    folder = unpack_bytes(zip_of({"a.jpeg": b"1", "b.jpeg": b"2"}), tmp_path)
    assert files_in(folder) == {"a.jpeg": b"1", "b.jpeg": b"2"}


def test_an_archive_of_something_else_says_what_it_holds(tmp_path: Path):
    with pytest.raises(ArchiveError, match=r"no folder 'photos', it has \['paintings'\]"):
        unpack_bytes(zip_of({"paintings/a.jpeg": b"1"}), tmp_path)
    assert leaves_nothing(tmp_path)


@pytest.mark.parametrize("pack", [zip_of, tar_of])
@pytest.mark.parametrize(
    "name", ["../evil", "photos/../../evil", "/tmp/evil", "C:/evil", "..\\evil", "photos\\..\\x"]
)
def test_a_member_outside_of_the_folder_is_refused(tmp_path: Path, pack, name: str):
    with pytest.raises(ArchiveError, match="outside of its folder"):
        unpack_bytes(pack({**CONTENT, name: b"evil"}), tmp_path)
    assert leaves_nothing(tmp_path)
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_special_files_in_a_tar_are_refused(tmp_path: Path, kind: bytes):
    info = tarfile.TarInfo("photos/link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(ArchiveError, match="link or special file: 'photos/link'"):
        unpack_bytes(tar_of({**CONTENT, "photos/link": info}), tmp_path)
    assert leaves_nothing(tmp_path)


def test_links_in_a_zip_are_refused(tmp_path: Path):
    info = zipfile.ZipInfo("photos/link")
    info.external_attr = 0o120777 << 16
    with pytest.raises(ArchiveError, match="link or special file: 'photos/link'"):
        unpack_bytes(zip_of({**CONTENT, "photos/link": info}), tmp_path)
    assert leaves_nothing(tmp_path)


def test_encrypted_members_are_refused(tmp_path: Path):
    packed = bytearray(zip_of({"photos/a.jpeg": b"1"}))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    with pytest.raises(ArchiveError, match="encrypted"):
        unpack_bytes(bytes(packed), tmp_path)


def test_two_members_of_one_name_are_refused(tmp_path: Path):
    with pytest.raises(ArchiveError, match="two members named './photos/a.jpeg'"):
        unpack_bytes(tar_of({**CONTENT, "./photos/a.jpeg": b"other"}), tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    packed = PACKERS[kind]({"photos/zeros": bytes(3_000_000)})
    assert len(packed) < 10_000
    monkeypatch.setattr(archive, "FREE_BYTES", 1_000_000)
    with pytest.raises(ArchiveError, match="more than 1000000 bytes"):
        unpack_bytes(packed, tmp_path)
    assert leaves_nothing(tmp_path)
    monkeypatch.setattr(archive, "FREE_BYTES", 3_000_000)
    assert unpack_bytes(packed, tmp_path).is_dir()


def test_padding_may_not_be_a_bomb_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, limit in (("FREE_BYTES", 100_000), ("MAX_MEMBERS", 10), ("MAX_RATIO", 1)):
        monkeypatch.setattr(archive, name, limit)
    with pytest.raises(ArchiveError, match="more than 100000 bytes"):
        unpack_bytes(gzip.compress(tar_of(CONTENT) + bytes(3_000_000)), tmp_path)


def test_a_header_cannot_claim_memory(tmp_path: Path):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 3_000_000
    packed = gzip.compress(header.tobuf() + bytes(3_000_000))
    with pytest.raises(ArchiveError, match="more than its size lets expect"):
        unpack_bytes(packed, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_too_many_members_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    with pytest.raises(ArchiveError, match="more than 5 members"):
        unpack_bytes(PACKERS[kind](CONTENT), tmp_path)
    assert leaves_nothing(tmp_path)


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.8, 0.99])
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str, share: float):
    noise = {name: os.urandom(3000) for name in CONTENT}
    packed = PACKERS[kind](noise)
    # A tar file ends in 10 KB of zeros: cut before them.
    whole = len(packed.rstrip(b"\0")) if kind == "tar" else len(packed)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack_bytes(packed[: int(share * whole)], tmp_path)
    assert leaves_nothing(tmp_path)


def test_a_tar_cut_between_two_members_is_refused(tmp_path: Path):
    packed = tar_of(CONTENT)
    with pytest.raises(ArchiveError, match="the end is missing"):
        unpack_bytes(packed[: 3 * (512 + 1024)], tmp_path)


def test_a_tar_with_a_broken_header_is_not_taken_for_its_beginning(tmp_path: Path):
    packed = bytearray(tar_of(CONTENT))
    packed[3 * (512 + 1024) + 5] ^= 0xFF
    with pytest.raises(ArchiveError, match="a header is broken"):
        unpack_bytes(bytes(packed), tmp_path)


def test_a_zip_with_a_flipped_bit_is_refused(tmp_path: Path):
    packed = bytearray(zip_of({"photos/a": os.urandom(5000)}))
    packed[2000] ^= 1
    with pytest.raises(ArchiveError, match="damaged"):
        unpack_bytes(bytes(packed), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>sign in</html>", "web page"),
        (b"just text", "damaged"),
        (b"", "damaged"),
        (bytes(10240), "no folder 'photos'"),  # a tar file without members
    ],
)
def test_what_is_not_an_archive_is_refused(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(ArchiveError, match=message):
        unpack_bytes(content, tmp_path)
    assert leaves_nothing(tmp_path)


def test_an_interrupted_unpacking_leaves_no_folder_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy, count = archive._copy, iter(range(100))

    def interrupted(*args):
        if next(count) == 3:
            raise KeyboardInterrupt
        copy(*args)

    with monkeypatch.context() as patch:
        patch.setattr(archive, "_copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            unpack_bytes(tar_of(CONTENT), tmp_path)
    assert leaves_nothing(tmp_path)
    # Killed, it could not even tidy up.
    (tmp_path / ".photos.unpacking" / "photos").mkdir(parents=True)
    (tmp_path / ".photos.unpacking" / "photos" / "half.jpeg").write_bytes(b"half")
    assert len(files_in(unpack_bytes(tar_of(CONTENT), tmp_path))) == len(CONTENT)
