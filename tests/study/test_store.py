"""Results on disk: whole after a kill, merged, mended, refused when they cannot be kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from erragree_utils.study import store
from erragree_utils.study.store import Item, StoreError, Writer, read, setting_key

SETTINGS = {
    "benchmark": {"name": "tabletop-a"},
    "model": {"name": "owner/m", "dtype": "float32"},
    "method": {"name": "matching"},
}
KEY = setting_key(SETTINGS)

ROOT = Path(__file__).resolve().parents[2]


def item(place: int, **more) -> Item:
    rng = np.random.default_rng(place)
    rows = {
        "pair_id": [f"p{place}"] * 2,
        "set_id": [f"s{place}"] * 2,
        "image_index": [0, 1],
        "score_own": rng.standard_normal(2).tolist(),
        "correct": [True, False],
    }
    return Item(f"s{place}", place, **({"rows": rows, "seconds": 0.5} | more))


def write(folder, *items, rank=0, world=1, key=KEY, settings=SETTINGS) -> Path:
    with Writer(folder, lambda: {"hardware": "abacus"}, rank, world) as writer:
        for each in items:
            writer.add(key, settings, [each], {"asked": "m"})
    (path,) = folder.glob(f"*{key}.sqlite")
    return path


def change(path: Path, old: bytes, new: bytes) -> None:
    """Damage a file in one place."""
    data = path.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))


class TestSettings:
    def test_the_key_does_not_depend_on_the_order(self):
        turned = {name: SETTINGS[name] for name in reversed(SETTINGS)}
        assert setting_key(turned) == KEY and len(KEY) == 16

    def test_any_other_value_has_another_key(self):
        others = [
            {**SETTINGS, "method": {"name": "vqascore"}},
            {**SETTINGS, "model": {"name": "owner/m", "dtype": "float16"}},
            {**SETTINGS, "seed": None},
        ]
        assert len({KEY, *map(setting_key, others)}) == 4

    def test_what_is_no_plain_value_is_refused(self):
        with pytest.raises(ValueError):
            setting_key({"beta": float("nan")})


class TestReading:
    def test_what_was_added_comes_back_to_the_last_bit_in_the_benchmarks_order(self, tmp_path):
        write(tmp_path, item(2), item(0), item(1))
        results = read(tmp_path)
        table = results.table(KEY)
        assert table["pair_id"].tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
        assert table["score_own"].tolist() == [
            v for i in range(3) for v in item(i).rows["score_own"]
        ]
        assert table["correct"].dtype == bool
        assert results.settings[KEY] == SETTINGS and results.about[KEY] == {"asked": "m"}
        assert results.provenance(KEY) == [{"hardware": "abacus"}]
        assert results.seconds(KEY) == 1.5

    def test_an_absent_folder_holds_nothing(self, tmp_path):
        results = read(tmp_path / "none")
        assert not results.settings and results.table(KEY).empty

    def test_a_file_in_the_place_of_the_folder_is_named(self, tmp_path):
        (tmp_path / "r").write_text("")
        with pytest.raises(StoreError, match="the folder .*r cannot be read"):
            read(tmp_path / "r")

    def test_runs_add_to_one_database_and_each_has_its_provenance(self, tmp_path):
        first, second = write(tmp_path, item(0)), write(tmp_path, item(1))
        assert first == second and first.name == f"tabletop-a_owner-m_matching_{KEY}.sqlite"
        assert len(read(tmp_path).table(KEY)) == 4 and len(read(tmp_path).runs) == 2

    def test_other_settings_have_tables_of_their_own(self, tmp_path):
        other = {**SETTINGS, "seed": 1}
        write(tmp_path, item(0))
        write(tmp_path, item(1), key=setting_key(other), settings=other)
        assert read(tmp_path).table(KEY)["pair_id"].unique().tolist() == ["p0"]

    def test_files_of_several_machines_are_merged_whatever_they_are_called(self, tmp_path):
        write(tmp_path / "one", item(0), item(1))
        other = write(tmp_path / "two", item(1), item(2))
        shutil.copy(other, tmp_path / "one" / "copy of two.sqlite")
        assert sorted(read(tmp_path / "one").items[KEY]) == ["s0", "s1", "s2"]

    def test_of_an_item_that_occurs_twice_the_newest_counts(self, tmp_path):
        write(tmp_path, item(0))
        write(tmp_path, item(0, seconds=7.0))
        assert len(read(tmp_path).table(KEY)) == 2 and read(tmp_path).seconds(KEY) == 7

    def test_an_item_that_was_skipped_and_scored_later_is_scored(self, tmp_path):
        write(tmp_path, item(0, rows=None, skipped="damaged"), item(1))
        assert read(tmp_path).skipped[KEY] == {"s0": "damaged"}
        assert list(read(tmp_path).items[KEY]) == ["s1"]
        write(tmp_path, item(0))
        assert read(tmp_path).skipped[KEY] == {}
        assert set(read(tmp_path).items[KEY]) == {"s0", "s1"}

    def test_an_item_that_is_withdrawn_has_no_results_until_it_is_scored_again(self, tmp_path):
        write(tmp_path, item(0), item(1))
        write(tmp_path, item(0, rows=None, skipped="other images"))
        assert read(tmp_path).skipped[KEY] == {"s0": "other images"}
        write(tmp_path, item(0, rows=None, skipped="other images"), item(0))
        assert set(read(tmp_path).items[KEY]) == {"s0", "s1"}

    def test_another_versions_format_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(store, "FORMAT", 9)
        write(tmp_path, item(0))
        monkeypatch.undo()
        with pytest.raises(StoreError, match="has format 9, this version reads 3"):
            read(tmp_path)

    def test_results_of_the_earlier_format_are_refused_in_one_line(self, tmp_path):
        (tmp_path / "results-20250101T000000-0-abc.jsonl").write_text("{}")
        with pytest.raises(StoreError, match="of an earlier version, which this one does not read"):
            read(tmp_path)
        with pytest.raises(StoreError, match="earlier version"):
            write(tmp_path, item(0))


class TestDamage:
    """What is damaged is named, what can be read is kept, and a run mends the file."""

    def test_a_row_is_named_with_its_file_and_set(self, tmp_path):
        path = write(tmp_path, item(0), item(1), item(2))
        change(path, b'"pair_id":["p1"', b'"pair_id":["p9"')
        with pytest.warns(UserWarning, match=rf"{path.name} is damaged \(row 4, set 's1'\)"):
            assert list(read(tmp_path).items[KEY]) == ["s0", "s2"]

    @pytest.mark.parametrize("place", [0, 18, 56, 100, 2000])
    def test_a_damaged_header_or_schema_costs_no_record(self, tmp_path, place):
        path = write(tmp_path, item(0), item(1))
        data = bytearray(path.read_bytes())
        data[place : place + 8] = os.urandom(8)
        path.write_bytes(data)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert len(read(tmp_path).table(KEY)) == 4
        assert all(path.name in str(warning.message) for warning in told)
        assert told or place in (56, 2000)  # of the encoding not all bytes are read; 2000 is free

    def test_the_next_run_mends_the_file_and_keeps_the_damaged_one(self, tmp_path):
        path = write(tmp_path, item(0), item(1))
        change(path, b"SQLite format 3", b"SQLite format 4")
        damaged = path.read_bytes()
        with pytest.warns(UserWarning, match="file is not a database"):
            write(tmp_path, item(2))
        assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged
        assert set(read(tmp_path).items[KEY]) == {"s0", "s1", "s2"}

    def test_lost_settings_are_told_and_brought_back_by_the_next_run(self, tmp_path):
        path = write(tmp_path, item(0))
        change(path, b'"about"', b'"abOut"')
        with pytest.warns(UserWarning) as told:
            write(tmp_path, item(1))
        assert "row 1)" in str(told[0].message)
        assert f"the settings {KEY} of 1 items are lost" in str(told[1].message)
        assert len(read(tmp_path).table(KEY)) == 4 and list(read(tmp_path).settings) == [KEY]

    def test_lost_provenance_costs_no_results(self, tmp_path):
        path = write(tmp_path, item(0))
        change(path, b"abacus", b"abaCus")
        with pytest.warns(UserWarning, match="row 2"):
            results = read(tmp_path)
        assert len(results.table(KEY)) == 2 and results.provenance(KEY) == []

    def test_settings_under_a_key_that_is_not_theirs_are_refused(self, tmp_path):
        write(tmp_path, item(0), key="0" * 16)
        with pytest.raises(StoreError, match="the settings under 0000000000000000 have another"):
            read(tmp_path)

    def test_a_file_that_ends_anywhere_holds_what_stands_before_its_end(self, tmp_path):
        path = write(tmp_path / "whole", *(item(i) for i in range(60)))
        data, cut = path.read_bytes(), tmp_path / "cut" / path.name
        cut.parent.mkdir()
        kept = []
        for size in range(0, len(data), 4099):
            cut.write_bytes(data[:size])
            message = "is damaged" if size else rf"{path.name} is empty"
            with pytest.warns(UserWarning, match=message):
                kept.append(len(read(cut.parent).items[KEY]))
        assert kept == sorted(kept) and kept[0] == 0 and kept[-1] > 0

    def test_a_run_goes_on_with_a_file_that_was_emptied(self, tmp_path):
        path = write(tmp_path, item(0), item(1))
        path.write_bytes(b"")
        with pytest.warns(UserWarning, match=rf"{path.name} is empty: 0 records are whole"):
            write(tmp_path, item(1))
        assert list(read(tmp_path).items[KEY]) == ["s1"]


class TestWriting:
    def test_each_record_is_json_with_its_checksum_for_other_tools(self, tmp_path):
        path = write(tmp_path, item(0))
        with contextlib.closing(sqlite3.connect(path)) as db:
            rows = db.execute("SELECT checksum, body FROM record").fetchall()
        for checksum, body in rows:
            assert checksum == hashlib.sha256(body.encode()).hexdigest()[:16]
        kinds = [set(json.loads(body)) - {"format", "key"} for _, body in rows]
        assert kinds == [{"settings", "about"}, {"run", "provenance"}, {"item"}]

    def test_nothing_is_left_behind_but_results(self, tmp_path):
        path = write(tmp_path, item(0))
        assert {p.name for p in tmp_path.iterdir() if p.suffix != ".lock"} == {path.name}
        with Writer(tmp_path / "idle", dict):
            pass
        assert not list((tmp_path / "idle").glob("*.sqlite"))

    def test_processes_of_one_run_write_side_by_side(self, tmp_path):
        with (
            Writer(tmp_path, dict, 0, 2) as first,
            Writer(tmp_path, dict, 1, 2) as second,
        ):
            first.add(KEY, SETTINGS, [item(0)])
            second.add(KEY, SETTINGS, [item(1)])
            assert len(read(tmp_path).items[KEY]) == 2

    def test_a_second_run_is_refused_until_the_first_is_done(self, tmp_path):
        with (
            Writer(tmp_path, dict),
            pytest.raises(StoreError, match="another run is writing"),
            Writer(tmp_path, dict),
        ):
            pass
        with Writer(tmp_path, dict):
            pass

    def test_a_process_that_a_larger_run_left_behind_blocks(self, tmp_path):
        with (
            Writer(tmp_path, dict, 1, 2),
            pytest.raises(StoreError, match="another run is writing"),
            Writer(tmp_path, dict, 0, 1),
        ):
            pass
        with Writer(tmp_path, dict, 0, 1):
            pass

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="file/r cannot be written"):
            Writer(tmp_path / "file" / "r", dict).__enter__()

    @pytest.mark.parametrize("name", [".writer-0.lock", ".mend.lock"])
    def test_a_link_in_the_place_of_a_file_of_ours_is_not_followed(self, tmp_path, name):
        (tmp_path / "precious").write_text("x")
        (tmp_path / "r").mkdir()
        (tmp_path / "r" / name).symlink_to(tmp_path / "precious")
        with pytest.raises(StoreError, match="cannot be written"):
            write(tmp_path / "r", item(0))
        assert (tmp_path / "precious").read_text() == "x"

    @pytest.mark.parametrize("what", ["folder", "file", "folder, made anew"])
    def test_results_that_were_deleted_during_a_run_stop_it(self, tmp_path, what):
        folder = tmp_path / "r"
        with (
            pytest.raises(StoreError, match=rf"{KEY}.* is gone: it was deleted or moved"),
            Writer(folder, dict) as writer,
        ):
            writer.add(KEY, SETTINGS, [item(0)])
            if what == "file":
                next(folder.glob("*.sqlite")).unlink()
            else:
                shutil.rmtree(folder)
            if what.endswith("anew"):
                folder.mkdir()
            writer.add(KEY, SETTINGS, [item(1)])
        assert not list(folder.glob("*.sqlite"))

    def test_results_that_were_deleted_after_the_last_item_are_told_too(self, tmp_path):
        with pytest.raises(StoreError, match="is gone"), Writer(tmp_path / "r", dict) as writer:
            writer.add(KEY, SETTINGS, [item(0)])
            shutil.rmtree(tmp_path / "r")


ADDING = """
import sys
from erragree_utils.study.store import Writer
from test_store import KEY, SETTINGS, item
rank, world = map(int, sys.argv[2:])
with Writer(sys.argv[1], lambda: {}, rank, world) as writer:
    for place in range(rank, 120, world):
        if f"s{place}" not in writer.stored.items[KEY]:
            writer.add(KEY, SETTINGS, [item(place)])
            print(place, flush=True)
"""


def adding(folder: Path, rank: int = 0, world: int = 1) -> subprocess.Popen:
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    command = [sys.executable, "-c", ADDING, str(folder), str(rank), str(world)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


class TestProcesses:
    def test_several_write_into_one_database_at_once(self, tmp_path):
        running = [adding(tmp_path, rank, 3) for rank in range(3)]
        for process in running:
            process.communicate(timeout=120)
        assert [process.returncode for process in running] == [0, 0, 0]
        assert len(list(tmp_path.glob("*.sqlite"))) == 1 and len(places(tmp_path)) == 120

    def test_killed_at_random_moments_they_lose_and_double_nothing(self, tmp_path):
        rng, told = random.Random(0), []
        for _ in range(3):
            process = adding(tmp_path)
            # After so many items, not after a time: a fast machine would be done.
            told += [process.stdout.readline() for _ in range(rng.randint(1, 30))]
            process.send_signal(signal.SIGKILL)
            told += process.stdout.read().split(b"\n")[:-1]
            process.wait()
        assert len(told) < 120 and {int(place) for place in told} <= set(places(tmp_path))
        adding(tmp_path).communicate(timeout=120)
        assert sorted(places(tmp_path)) == list(range(120))


def places(folder: Path) -> list[int]:
    """Of all items that a store holds, each as often as it is there."""
    (path,) = folder.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db:
        bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM record")]
    return [body["item"]["place"] for body in bodies if "item" in body]


FULL = """
import itertools, sys
from erragree_utils.study import store
from test_store import KEY, SETTINGS, item
folder, store.RESERVE, place = sys.argv[1], int(sys.argv[2]), -1
try:
    with store.Writer(folder, dict) as writer:
        for place in itertools.count():
            writer.add(KEY, SETTINGS, [item(place)])
except store.DiskFull as error:
    print(error, *store.read(folder).items[KEY], place, sep="\\n")
"""


@pytest.fixture
def full_disk(tmp_path):
    """What a run says, and what it has stored, when a real disk of 1.5 MiB is full."""
    mount = 'mount -t tmpfs -o size=1536k none "$1" && exec "$2" -c "$3" "$1" "$4"'

    def fill(reserve: int) -> tuple[str, int, int]:
        tests = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tests}"}
        command = ["unshare", "-Urm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable]
        done = subprocess.run(
            [*command, FULL, str(reserve)], env=environment, capture_output=True, text=True
        )
        if done.returncode and "Traceback" not in done.stderr:
            pytest.skip(f"no disk of its own can be made here: {done.stderr}")
        assert done.returncode == 0, done.stderr
        message, *stored, last = done.stdout.splitlines()
        return message, len(stored), int(last) + 1

    return fill


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs namespaces of Linux")
class TestFullDisk:
    def test_it_is_told_before_anything_is_scored(self, full_disk):
        message, stored, scored = full_disk(2 * store.RESERVE)
        assert "Nothing was scored" in message and stored == scored == 0

    def test_what_was_scored_last_is_stored_in_the_room_that_was_kept(self, full_disk):
        message, stored, scored = full_disk(store.RESERVE)
        assert message.startswith("the disk is full: ")
        assert "All that was scored is stored. Make room and run" in message
        assert stored == scored > 100

    def test_without_any_room_the_items_lost_are_counted(self, full_disk):
        message, stored, scored = full_disk(0)
        assert "but for the last 1 items" in message
        assert stored == scored - 1 > 100
