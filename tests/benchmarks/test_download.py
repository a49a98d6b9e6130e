"""Published files become files and folders that are whole, and errors say what to do by hand."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import threading
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from erragree_utils.benchmarks import BenchmarkError, load_benchmark
from erragree_utils.benchmarks.download import DownloadError, cache_folder, ensure
from tests.benchmarks.serving import (
    BODY,
    SHA256,
    Reply,
    Server,
    attachment,
    files_in,
    get,
    jpeg,
    remote,
)


def test_a_wrong_checksum_is_refused_and_dropped(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match=f"checksum {SHA256} instead of 000"):
        ensure(remote(server, sha256="000"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".f.bin.lock"]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("f.bin", b' {"error": {"code": 403, "message": "quota"}}', "JSON object.*quota"),
        ("f.json", b'{"error": "quota"}', "JSON object.*quota"),
        ("f.json", b'"quota"', "no JSON list.*quota"),
        ("f.json", b"quota exceeded", "not JSON.*quota exceeded"),
        ("f.json", b'[[1, "a"', "not JSON"),
        ("f.json", b"[" * 100_000, "not JSON .*recursion"),
    ],
)
def test_an_error_in_json_is_not_taken_for_the_file(
    server: Server, tmp_path: Path, name: str, body: bytes, message: str
):
    file = remote(server, Reply(body, content_type="application/json"), name)
    with pytest.raises(DownloadError, match=rf"(?s){message}"):
        ensure(file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".{name}.lock"]
    server.replies[f"/{name}"] = Reply(b'[[1, "a", "b"]]')
    assert get(file, tmp_path) == b'[[1, "a", "b"]]'


@pytest.mark.parametrize(
    ("name", "body", "taken"),
    [
        ("f.json", b'{"0": {"a": 1}, "1": {"a": 2}}', True),
        ("f.jsonl", b'{"a": 1}\n{"a": 2}\n', True),
        ("f.json", b'{"error": {"code": 403}}', False),
        ("f.json", b'{"error": "quota", "code": 403}', False),
        ("f.jsonl", b'{"error": "quota"}', False),
        ("f.jsonl", b'{"a": 1}\n{"a', False),
    ],
)
def test_lists_of_objects_are_told_from_a_servers_error(server, tmp_path, name, body, taken):
    file = remote(server, Reply(body, content_type="application/json"), name, objects=True)
    if taken:
        assert get(file, tmp_path) == body
    else:
        with pytest.raises(DownloadError, match="no list of objects|not JSON"):
            ensure(file, tmp_path)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!-- 7 --><div>Quota exceeded</div>", "text/html; charset=utf-8"),
        (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "application/octet-stream"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "binary/octet-stream"),
    ],
)
def test_a_web_page_is_not_taken_for_the_file(
    server: Server, tmp_path: Path, body: bytes, content_type: str
):
    page = Reply(body, content_type=content_type)
    with pytest.raises(DownloadError, match="web page.*not the file"):
        ensure(remote(server, page), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".f.bin.lock"]


def test_an_empty_file_is_refused(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match="empty"):
        ensure(remote(server, Reply(b"")), tmp_path)


def test_of_several_at_once_one_downloads(server: Server, tmp_path: Path):
    file = remote(server, Reply(slow=0.05))
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(ensure(file, tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [BODY] * 4
    assert len(server.log) == 1


def test_a_cache_that_cannot_be_written_names_the_way_out(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="ERRAGREE_CACHE"):
        ensure(remote(server), tmp_path / "file" / "cache")


def test_the_environment_moves_the_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERRAGREE_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("ERRAGREE_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "erragree"


# --- archives ----------------------------------------------------------------------------------

CONTENT = {f"photos/{name}.jpeg": bytes([i]) * 700 for i, name in enumerate("abcdef")}


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def tar_gz_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_an_archive_is_fetched_unpacked_and_not_kept(server: Server, tmp_path: Path):
    packed = tar_gz_of(CONTENT)
    file = remote(server, Reply(packed), "photos.tar.gz", unpacks_to="photos")
    path = ensure(file, tmp_path)
    assert (path, len(files_in(path))) == (tmp_path / "photos", len(CONTENT))
    assert not (tmp_path / "photos.tar.gz").exists()
    assert ensure(file, tmp_path) == path
    assert len(server.log) == 1


def test_an_archive_saved_by_hand_is_unpacked_without_a_request(server: Server, tmp_path: Path):
    file = remote(server, Reply(status=403), "photos.zip", unpacks_to="photos")
    with pytest.raises(DownloadError, match=rf"save the file as {tmp_path / 'photos.zip'} \(as it"):
        ensure(file, tmp_path)
    (tmp_path / "photos.zip").write_bytes(zip_of(CONTENT))
    path = ensure(file, tmp_path)
    assert len(files_in(path)) == len(CONTENT)
    assert len(server.log) == 1


def test_a_page_saved_by_hand_instead_of_the_archive_is_named(server: Server, tmp_path: Path):
    file = remote(server, name="photos.zip", unpacks_to="photos")
    (tmp_path / "photos.zip").write_bytes(b"<html>quota</html>")
    with pytest.raises(DownloadError, match=r"photos\.zip is a web page.*there before: delete"):
        ensure(file, tmp_path)


def test_a_damaged_archive_that_was_fetched_is_fetched_again(server: Server, tmp_path: Path):
    packed = zip_of({"photos/a": os.urandom(5000)})
    file = remote(server, Reply(packed[:3000]), "photos.zip", unpacks_to="photos")
    with pytest.raises(DownloadError, match="damaged"):
        ensure(file, tmp_path)
    server.replies["/photos.zip"] = Reply(packed)
    path = ensure(file, tmp_path)
    assert files_in(path) == {"a"}


# --- whole benchmarks --------------------------------------------------------------------------


def drive_reply(internet: Server, drive_id: str, body: bytes) -> None:
    internet.replies[f"/drive.google.com/uc?id={drive_id}"] = attachment(body)


def test_whatsup_is_fetched_into_the_cache_once(internet: Server, cache: Path):
    words = {
        "left_of": "to the left of",
        "right_of": "to the right of",
        "on": "on",
        "under": "under",
    }
    names = {word: f"beer bottle_{word}_arm-chair.jpeg" for word in words}
    entries = [
        {
            "image_path": f"data/controlled_images/{names[word]}",
            "caption_options": [
                f"A beer bottle {words[w]} an arm-chair" for w in sorted(words, key=word.__ne__)
            ],
        }
        for word in words
    ]
    drive_reply(internet, "1ap8mmmpQjLIjPGuplkpBgc1hoEHCj4hm", json.dumps(entries).encode())
    photos = {f"controlled_images/{name}": jpeg() for name in names.values()}
    drive_reply(internet, "19KGYVQjrV3syb00GgcavB2nZTW5NXX0H", tar_gz_of(photos))
    with pytest.warns(UserWarning, match=r"has 4 entries, whatsup-a as published has 412"):
        bench = load_benchmark("whatsup-a")
    assert [pair.relation for pair in bench] == ["left/right", "on/under"]
    assert [image.size for pair in bench for image in pair.images] == [(16, 12)] * 4
    requests_so_far = len(internet.log)
    with pytest.warns(UserWarning, match="412"):
        assert load_benchmark("whatsup-a", download=False) == bench
    assert len(internet.log) == requests_so_far


def test_coco_spatial_takes_the_images_from_coco_and_checks_them(internet: Server, cache: Path):
    items = json.dumps([[139, "A dog on the left", "A dog on the right"]]).encode()
    drive_reply(internet, "1RsMdpE9mmwnK4zzMPpC1-wTU_hNis-dq", items)
    internet.replies["/images.cocodataset.org/zips/val2017.zip"] = Reply(zip_of({"val2017/x": b""}))
    with pytest.raises(DownloadError, match=r"val2017\.zip.* bytes instead of 815585330") as error:
        load_benchmark("coco-spatial", objects="one")
    assert str(cache / "whatsup" / "val2017.zip") in str(error.value)


@pytest.mark.parametrize("name", ["whatsup-b", "coco-spatial", "gqa-spatial"])
def test_an_empty_cache_without_download_says_what_goes_where(name: str, cache: Path):
    with pytest.raises(BenchmarkError, match="download=True") as error:
        load_benchmark(name, download=False)
    assert str(cache / "whatsup") in str(error.value)


def test_drive_ids_are_well_formed_and_distinct():
    from erragree_utils.benchmarks.spatial import SOURCES
    from erragree_utils.benchmarks.whatsup import PARTS

    remotes = [file for part in PARTS.values() for file in (part.json, part.images)]
    remotes += [f for source in SOURCES.values() for f in (*source.json.values(), source.images)]
    ids = [file.drive_id for file in remotes if file.drive_id]
    assert len(set(ids)) == len(ids) == 9
    for file in remotes:
        query = parse_qs(urlsplit(f"https://drive.google.com/uc?id={file.drive_id}").query)
        assert file.url or re.fullmatch(r"1[\w-]{32}", query["id"][0])
