"""Models from the Hugging Face hub, which a stand-in on this machine plays."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from erragree_utils import models
from erragree_utils.models.mllm import load_mllm

SHARD = "model-00001-of-00002.safetensors"
COMMIT = "c0ffee" * 6 + "beef"
CALLS = """
import json, sys, urllib.request
from huggingface_hub import close_session, constants
constants.DOWNLOAD_CHUNK_SIZE = 8192  # the client keeps whole chunks only: ours are small files
from erragree_utils.models import ModelError, checkpoint, mllm
checkpoint.REVISIONS["owner/pinned"] = sys.argv[1]
for name, revision in json.loads(sys.argv[2]):
    if name == "close":
        urllib.request.urlopen(constants.ENDPOINT + "/close").close()
        close_session()  # and with it the connections that are still open
        continue
    try:
        model = mllm.load_mllm(name, device="cpu", revision=revision)
        print("RESULT " + json.dumps([model.name, model.revision, model.generate([None], "Why?")]))
    except ModelError as error:
        print("RESULT " + json.dumps(str(error)))
"""


class Hub(ThreadingHTTPServer):
    """A stand-in for the hub on this machine: the same addresses, headers and answers."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.asked: dict[str, list[tuple[str, str | None]]] = defaultdict(list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        if path == "close":
            self.server.shutdown()
            self.server.server_close()
            return self.send(200, b"", {"Connection": "close"})
        repo = "/".join(path.removeprefix("api/models/").split("/")[:2])
        refusals = {
            "owner/missing": (404, "RepoNotFound"),
            "owner/private": (401, "RepoNotFound"),
            "owner/gated": (403, "GatedRepo"),
            "owner/forbidden": (403, ""),
            "owner/busy": (429, ""),
        }
        if repo in refusals:
            return self.send(refusals[repo][0], b"{}", {"X-Error-Code": refusals[repo][1]})
        if path.startswith("api/models/"):
            return self.describe(path, repo)
        revision, _, name = path.removeprefix(f"{repo}/resolve/").partition("/")
        if revision not in ("main", COMMIT) or name not in self.server.files:
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        return self.give(repo, name, body)

    def describe(self, path: str, repo: str) -> None:
        asked_for = path.rsplit("/", 1)[-1]
        if asked_for not in ("main", COMMIT):
            return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = self.server.files
        if "/tree/" in path:
            told = [
                {"type": "file", "path": name, "size": len(data), "oid": etag(data)}
                for name, data in files.items()
            ]
        else:
            told = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        self.send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def give(self, repo: str, name: str, body: bool) -> None:
        data, begin = self.server.files[name], 0
        headers = {"ETag": f'"{etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if not body:
            return self.send(200, data, headers, body=False)
        log = self.server.asked[repo]
        log.append((name, self.headers["Range"]))
        tries = sum(entry[0] == name for entry in log)
        if repo in ("owner/breaks", "owner/down") and name == SHARD and tries == 1:
            self.send(200, data, headers, cut=len(data) // 2)
            self.close_connection = True
            return None
        if repo == "owner/down" and name == SHARD and tries == 2:
            return self.send(503, b"", {})
        if self.headers["Range"]:
            begin = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self.send(206 if begin else 200, data[begin:], headers)

    def send(self, status: int, data: bytes, headers, body: bool = True, cut: int | None = None):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(data[:cut])

    def log_message(self, *_):
        pass


def etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


NAMES = [
    ("owner/whole", None),
    ("owner/whole", None),
    ("owner/pinned", None),
    ("owner/breaks", None),
    ("owner/down", None),
    ("owner/down", None),
    ("owner/missing", None),
    ("owner/private", None),
    ("owner/gated", None),
    ("owner/forbidden", None),
    ("owner/busy", None),
    ("owner/whole", "v9"),
    ("owner/a/b", None),
    ("close", None),  # the hub is gone from here on
    ("owner/whole", None),
    ("owner/other", None),
]


@pytest.fixture(scope="module")
def visit(llava_folder, tmp_path_factory):
    """What came of `load_mllm` for each of NAMES, and what the hub was asked.

    In a process of its own: the address of the hub is read when its client is imported.
    """
    hub = Hub(llava_folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(models.__file__).parents[2]),
    }  # fmt: skip
    command = [sys.executable, "-c", CALLS, COMMIT, json.dumps(NAMES)]
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        hub.shutdown()
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    called = [call for call in NAMES if call[0] != "close"]
    assert len(lines) == len(called), done.stdout + done.stderr
    outcome: dict[str, list] = defaultdict(list)
    for (name, revision), line in zip(called, lines, strict=True):
        key = f"{name}@{revision}" if revision else name
        outcome[key].append(json.loads(line.removeprefix("RESULT ")))
    return outcome, hub.asked


class TestHub:
    def test_a_complete_download_answers_as_the_folder_does(self, visit, llava_folder):
        name, commit, answer = visit[0]["owner/whole"][0]
        assert (name, commit) == ("owner/whole", COMMIT)
        small = load_mllm(llava_folder, device="cpu")
        assert answer == small.generate([None], "Why?")

    def test_a_second_call_fetches_nothing(self, visit, llava_folder):
        assert visit[0]["owner/whole"][1] == visit[0]["owner/whole"][0]
        names = [name for name, _ in visit[1]["owner/whole"]]
        assert len(names) == len(set(names))
        assert {path.name for path in llava_folder.glob("*.safetensors")} <= set(names)

    def test_a_pinned_commit_is_what_is_fetched(self, visit):
        assert visit[0]["owner/pinned"][0][1] == COMMIT

    def test_a_broken_connection_is_taken_up_where_it_broke(self, visit, llava_folder):
        assert visit[0]["owner/breaks"][0][1:] == visit[0]["owner/whole"][0][1:]
        first, second = [asked for name, asked in visit[1]["owner/breaks"] if name == SHARD]
        assert first is None
        begin = int(second.removeprefix("bytes=").rstrip("-"))
        assert 0 < begin <= (llava_folder / SHARD).stat().st_size // 2

    def test_a_download_that_broke_off_says_so_and_the_next_call_fetches_the_rest(self, visit):
        broken, complete = visit[0]["owner/down"]
        assert "the download of owner/down broke off" in broken
        assert "Call again: files that are complete are kept" in broken
        assert complete[1:] == visit[0]["owner/whole"][0][1:]
        names = [name for name, _ in visit[1]["owner/down"] if not name.endswith("safetensors")]
        assert len(names) == len(set(names))

    @pytest.mark.parametrize(
        ("name", "status"), [("missing", 404), ("private", 401), ("gated", 403), ("forbidden", 403)]
    )
    def test_models_that_are_missing_private_or_gated(self, visit, name, status):
        (text,) = visit[0][f"owner/{name}"]
        assert f"the hub has no public model 'owner/{name}' (HTTP {status})" in text
        assert "check the spelling" in text and "accept its conditions" in text
        assert "hf auth login" in text and "HF_TOKEN" in text

    def test_a_hub_that_has_had_too_many_requests(self, visit):
        (text,) = visit[0]["owner/busy"]
        assert "429" in text and "hf download owner/busy" in text

    def test_revisions_that_are_not_there(self, visit):
        assert "owner/whole has no revision 'v9'" in visit[0]["owner/whole@v9"][0]

    def test_names_that_cannot_be(self, visit):
        assert "'owner/a/b' is no name of a model on the hub" in visit[0]["owner/a/b"][0]

    def test_without_a_network_what_is_there_is_used_and_else_the_ways_are_told(self, visit):
        cached, absent = visit[0]["owner/whole"][2], visit[0]["owner/other"][0]
        assert cached == visit[0]["owner/whole"][0]
        assert "the hub cannot be reached" in absent
        assert "hf download owner/other --revision main --local-dir FOLDER" in absent
