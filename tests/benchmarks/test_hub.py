"""Data sets of the hub, fetched from a stand-in on this computer."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import huggingface_hub
import pytest

from erragree_utils.benchmarks import (
    Benchmark,
    BenchmarkError,
    load_benchmark,
    mmvp,
    mmvp_statements,
)
from erragree_utils.benchmarks.download import DownloadError
from tests.benchmarks.serving import Reply, Server, files_in, jpeg

COMMIT = "c" * 40
MMVP = "MMVP/MMVP"
_ADDRESS = urlsplit(mmvp_statements.LIST.url)
STATEMENTS = f"/{_ADDRESS.hostname}{_ADDRESS.path}"


@pytest.fixture
def hub(internet: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A stand-in for the hub that has MMVP, of one pair; its client does not wait between tries.

    It has the list of statements too, which lies elsewhere.
    """
    server = internet
    fetch = partial(huggingface_hub.snapshot_download, endpoint=server.address)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 64)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
    small = replace(mmvp.DATA_SETS[MMVP], n_files=3)
    monkeypatch.setitem(mmvp.DATA_SETS, MMVP, small)
    rows = "Index,Question,Options,Correct Answer\n"
    rows += "".join(f"{i},Is it red?,(a) Yes (b) No,({'ab'[i - 1]})\n" for i in (1, 2))
    files = {"Questions.csv": rows.encode()}
    files |= {f"MMVP Images/{i}.jpg": jpeg() for i in (1, 2)}
    server.files = files
    statements = b"Question ID,Type,Statement\n1,Unknown,a red thing\n2,Unknown,a blue thing\n"
    server.replies[STATEMENTS] = Reply(statements, content_type="text/plain; charset=utf-8")
    named = {"X-Repo-Commit": COMMIT}
    names = {**files, "README.md": b"not needed"}
    listed = [
        {"type": "file", "path": name, "size": len(data), "oid": name}
        for name, data in names.items()
    ]
    about = json.dumps({"id": MMVP, "sha": COMMIT}).encode()
    server.replies[f"/api/datasets/{MMVP}/revision/main"] = Reply(about, headers=named)
    tree = Reply(json.dumps(listed).encode(), headers=named)
    server.replies[f"/api/datasets/{MMVP}/tree/{COMMIT}"] = tree
    for name, data in files.items():
        server.replies[place_of(name)] = Reply(data, headers=named, etag=f'"{len(data)}{name[-5]}"')
    return server


def place_of(name: str) -> str:
    return f"/datasets/{MMVP}/resolve/{COMMIT}/{quote(name)}"


def load_small_mmvp(**options) -> Benchmark:
    with pytest.warns(UserWarning, match="has 2 entries, mmvp as published has 300"):
        return load_benchmark("mmvp", **options)


def test_a_data_set_of_the_hub_is_fetched_once_into_the_cache(hub: Server, cache: Path):
    with pytest.raises(BenchmarkError, match="does not exist.*give download=True"):
        load_benchmark("mmvp", download=False)
    bench = load_small_mmvp()
    assert [image.size for image in bench[0].images] == [(16, 12)] * 2
    assert {p for p in files_in(cache / "mmvp") if not p.startswith(".")} == {
        *hub.files, "Questions-clip.csv",
    }  # fmt: skip
    assert bench[0].captions == ("a photo of a red thing", "a photo of a blue thing")
    requests = [path for path, _ in hub.log]
    assert not any(path.endswith("README.md") for path in requests)
    assert load_small_mmvp(download=False).pairs == bench.pairs
    assert len(hub.log) == len(requests)


def test_without_the_hub_the_error_says_how_to_get_the_files_by_hand(hub: Server):
    hub.shutdown()
    hub.server_close()
    message = r"(?s)MMVP/MMVP_VLM could not be fetched.*hf download MMVP/MMVP_VLM --repo-type data"
    with pytest.raises(DownloadError, match=message):
        load_benchmark("mmvp-vlm")


@pytest.mark.parametrize("cut", [64, 65, 200, 300])
def test_a_data_set_that_breaks_off_goes_on_where_it_was(hub: Server, cache: Path, cut: int):
    place = place_of("MMVP Images/2.jpg")
    hub.replies[place].cuts = [cut]
    load_small_mmvp()
    second = cache / "mmvp" / "MMVP Images" / "2.jpg"
    assert second.read_bytes() == hub.replies[place].body and len(second.read_bytes()) > 300
    asked = [span for path, span in hub.log if path == place and span]
    assert asked == [f"bytes={cut // 64 * 64}-"]  # the client keeps whole pieces


@pytest.mark.parametrize("cut", [0, 1, 63])
def test_a_data_set_that_cannot_be_completed_is_by_the_next_call(
    hub: Server, cache: Path, cut: int
):
    place = place_of("MMVP Images/2.jpg")
    hub.replies[place].cuts = [cut] * 20  # more often than the client tries
    with pytest.raises(DownloadError, match=r"(?s)MMVP/MMVP could not be fetched.*by hand"):
        load_benchmark("mmvp")
    second = cache / "mmvp" / "MMVP Images" / "2.jpg"
    assert not second.exists()
    hub.replies[place].cuts = []
    load_small_mmvp()
    assert second.read_bytes() == hub.replies[place].body


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("what", ["the data set", "a file"])
def test_a_refusal_of_the_hub_says_how_to_get_the_data_set_by_hand(
    hub: Server, cache: Path, what: str, status: int
):
    places = {"the data set": f"/api/datasets/{MMVP}/revision/main",
              "a file": place_of("Questions.csv")}  # fmt: skip
    hub.replies[places[what]] = Reply(status=status)
    with pytest.raises(DownloadError) as error:
        load_benchmark("mmvp")
    message = str(error.value)
    assert "MMVP/MMVP could not be fetched" in message
    assert str(status) in message or what == "a file"
    assert "hf download MMVP/MMVP --repo-type dataset --local-dir FOLDER" in message
    assert not (cache / "mmvp" / "Questions.csv").exists()


def test_a_data_set_that_is_half_there_is_not_taken_for_whole_without_the_hub(
    hub: Server, cache: Path
):
    load_small_mmvp()
    (cache / "mmvp" / "MMVP Images" / "2.jpg").unlink()
    hub.replies.clear()  # all is 404 from here on
    with pytest.raises((DownloadError, BenchmarkError), match=r"(?s)MMVP.*(by hand|2\.jpg)"):
        load_benchmark("mmvp")


@pytest.mark.parametrize("quiet", [True, False])
def test_without_the_hub_what_is_incomplete_is_called_so(
    hub: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, quiet: bool
):
    load_small_mmvp()
    (cache / "mmvp" / "MMVP Images" / "2.jpg").unlink()
    hub.shutdown()
    hub.server_close()
    if quiet:  # as the client is, where it has no list of the files: it returns what is there
        monkeypatch.setattr(
            huggingface_hub, "snapshot_download", lambda *_, local_dir, **__: local_dir
        )
    with pytest.raises(DownloadError) as error:
        load_benchmark("mmvp")
    assert "2 of 3 files" in str(error.value) and "run the same line again" in str(error.value)
    assert ("is incomplete" in str(error.value)) == quiet


def test_a_web_page_instead_of_the_list_of_questions_is_not_taken_for_it(hub: Server, cache: Path):
    hub.replies[place_of("Questions.csv")].body = b"<html>\nQuota exceeded, sign in\n</html>"
    with pytest.raises((BenchmarkError, DownloadError), match=r"Questions\.csv"):
        load_benchmark("mmvp")


def test_a_file_of_another_size_than_the_hub_listed_is_not_kept(hub: Server, cache: Path):
    place = place_of("MMVP Images/1.jpg")
    hub.replies[place].announced = len(hub.replies[place].body) + 7
    with pytest.raises(DownloadError, match="MMVP/MMVP could not be fetched"):
        load_benchmark("mmvp")
    assert not (cache / "mmvp" / "MMVP Images" / "1.jpg").exists()


class TestStatements:
    """The list that lies elsewhere."""

    def test_a_list_of_another_length_is_told(self, hub: Server):
        with pytest.warns(UserWarning, match=r"has 2 entries, the list of mmvp's statements as pu"):
            load_benchmark("mmvp")

    @pytest.mark.parametrize(
        "reply", [Reply(status=404), Reply(b"<html>Sign in</html>", content_type="text/html")]
    )
    def test_if_it_cannot_be_had_mmvp_can_still_be_and_a_warning_says_why(
        self, hub: Server, cache: Path, reply: Reply
    ):
        hub.replies[STATEMENTS] = reply
        with pytest.warns(UserWarning, match=r"(?s)CLIP reads each question.*(404|a web page)"):
            bench = load_benchmark("mmvp")
        assert bench[0].captions == ("Is it red? Yes", "Is it red? No")
        assert not (cache / "mmvp" / "Questions-clip.csv").exists()

    def test_a_text_that_is_no_list_is_refused_with_what_to_do(self, hub: Server):
        hub.replies[STATEMENTS].body = b"Service unavailable, come back later\n"
        with pytest.raises(BenchmarkError, match=r"Questions-clip\.csv.*Delete the file"):
            load_benchmark("mmvp")

    def test_without_download_what_is_there_is_read_and_nothing_asked_for(self, hub: Server):
        load_small_mmvp(statements="none")
        requests = len(hub.log)
        with pytest.warns(UserWarning, match="list of statements is not there"):
            load_benchmark("mmvp", download=False)
        assert len(hub.log) == requests
