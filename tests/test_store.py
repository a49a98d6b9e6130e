"""Results on disk: appended, merged, whole after a kill, refused when they cannot be kept."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest

from erragree_utils import store
from erragree_utils.store import DiskFull, Item, StoreError, Writer, read, setting_key

SETTINGS = {"method": {"name": "matching"}, "model": {"name": "m", "dtype": "float32"}}
KEY = setting_key(SETTINGS)


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


def write(folder, *items, rank=0, world=1, key=KEY, settings=SETTINGS):
    with Writer(folder, lambda: {"hardware": "abacus"}, rank, world) as writer:
        for each in items:
            writer.add(key, settings, [each], {"asked": "m"})
    return writer.path


class TestSettings:
    def test_the_key_does_not_depend_on_the_order(self):
        turned = {name: SETTINGS[name] for name in reversed(SETTINGS)}
        assert setting_key(turned) == KEY and len(KEY) == 16

    def test_any_other_value_has_another_key(self):
        others = [
            {**SETTINGS, "method": {"name": "vqascore"}},
            {**SETTINGS, "model": {"name": "m", "dtype": "float16"}},
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
        assert [run["hardware"] for run in results.runs.values()] == ["abacus"]
        assert results.seconds(KEY) == 1.5

    def test_an_absent_folder_holds_nothing(self, tmp_path):
        results = read(tmp_path / "none")
        assert not results.settings and results.table(KEY).empty

    def test_every_run_has_a_file_of_its_own(self, tmp_path):
        first, second = write(tmp_path, item(0)), write(tmp_path, item(1))
        assert first != second
        assert len(read(tmp_path).table(KEY)) == 4

    def test_other_settings_have_tables_of_their_own(self, tmp_path):
        other = {**SETTINGS, "seed": 1}
        write(tmp_path, item(0))
        write(tmp_path, item(1), key=setting_key(other), settings=other)
        assert read(tmp_path).table(KEY)["pair_id"].unique().tolist() == ["p0"]

    def test_an_item_that_occurs_twice_counts_once(self, tmp_path):
        write(tmp_path, item(0))
        write(tmp_path, item(0))
        assert len(read(tmp_path).table(KEY)) == 2

    def test_an_item_that_was_skipped_and_scored_later_is_scored(self, tmp_path):
        skipped = item(0, rows=None, skipped="damaged")
        write(tmp_path, skipped, item(1))
        assert read(tmp_path).skipped[KEY] == {"s0": "damaged"}
        assert list(read(tmp_path).items[KEY]) == ["s1"]
        write(tmp_path, item(0))
        write(tmp_path, skipped)
        assert read(tmp_path).skipped[KEY] == {}
        assert set(read(tmp_path).items[KEY]) == {"s0", "s1"}

    @pytest.mark.filterwarnings("error")
    def test_a_file_cut_at_any_byte_holds_all_items_before_the_cut(self, tmp_path):
        path = write(tmp_path / "whole", item(0), item(1))
        data, cut = path.read_bytes(), tmp_path / "cut" / path.name
        cut.parent.mkdir()
        ends = [i for i, byte in enumerate(data, 1) if byte == ord("\n")]
        for size in range(len(data) + 1):
            cut.write_bytes(data[:size])
            whole = sum(end <= size for end in ends)  # the run, its settings, then items
            assert len(read(cut.parent).items[KEY]) == max(0, whole - 2), size

    def test_a_line_damaged_elsewhere_is_named_and_left_out(self, tmp_path):
        path = write(tmp_path, item(0), item(1), item(2))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:3], b"\0\0" + lines[3][2:], *lines[4:]]))
        with pytest.warns(UserWarning, match=rf"{path.name}, line 4 is damaged and left out"):
            assert list(read(tmp_path).items[KEY]) == ["s0", "s2"]

    def test_items_whose_settings_are_lost_are_left_out(self, tmp_path):
        path = write(tmp_path, item(0))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(lines[0] + lines[2])
        with pytest.warns(UserWarning, match="its settings .* are missing"):
            assert not read(tmp_path).items[KEY]

    def test_another_versions_format_is_refused(self, tmp_path):
        path = write(tmp_path, item(0))
        path.write_text(path.read_text().replace('"format":1', '"format":9'))
        with pytest.raises(StoreError, match="has format 9, this version reads 1"):
            read(tmp_path)


class TestWriting:
    def test_each_line_is_json_for_other_tools(self, tmp_path):
        path = write(tmp_path, item(0))
        kinds = [json.loads(line)["type"] for line in path.read_text().splitlines()]
        assert kinds == ["run", "setting", "item"]

    def test_nothing_is_left_behind_but_results(self, tmp_path):
        path = write(tmp_path, item(0))
        assert {p.name for p in tmp_path.iterdir() if p.suffix != ".lock"} == {path.name}
        with Writer(tmp_path / "idle", dict):
            pass
        assert not list((tmp_path / "idle").glob("results-*"))

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


class Disk:
    """A disk with so many bytes: ``os.write`` writes what fits, and fails when nothing does."""

    def __init__(self, folder, size, monkeypatch):
        self.folder, self.size, self.write = folder, size, os.write
        monkeypatch.setattr(store.os, "write", self)

    def __call__(self, file, data):
        used = sum(path.stat().st_size for path in self.folder.iterdir())
        room = max(0, self.size - used)
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.write(file, data[:room])


class TestFullDisk:
    def test_it_is_told_before_anything_is_scored(self, tmp_path, monkeypatch):
        Disk(tmp_path, store.RESERVE - 1, monkeypatch)
        with pytest.raises(DiskFull, match="Nothing was scored"), Writer(tmp_path, dict):
            pass
        assert not list(tmp_path.glob("*.reserve"))

    def test_what_was_scored_last_is_stored_in_the_room_that_was_kept(self, tmp_path, monkeypatch):
        disk = Disk(tmp_path, 10 * store.RESERVE, monkeypatch)
        with (
            pytest.raises(DiskFull, match="All that was scored is stored. Make room and run"),
            Writer(tmp_path, dict) as writer,
        ):
            writer.add(KEY, SETTINGS, [item(0)])
            disk.size = store.RESERVE + writer.path.stat().st_size + 10
            writer.add(KEY, SETTINGS, [item(1), item(2)])
        assert len(read(tmp_path).table(KEY)) == 6

    def test_without_any_room_the_items_lost_are_counted_and_no_half_line_stays(
        self, tmp_path, monkeypatch
    ):
        disk = Disk(tmp_path, 10 * store.RESERVE, monkeypatch)
        with (
            pytest.raises(DiskFull, match="but for the last 2 items"),
            Writer(tmp_path, dict) as writer,
        ):
            writer.add(KEY, SETTINGS, [item(0)])
            disk.size = writer.path.stat().st_size + 10
            writer.add(KEY, SETTINGS, [item(1), item(2)])
        assert writer.path.read_bytes().endswith(b"\n")
        assert len(read(tmp_path).table(KEY)) == 2
