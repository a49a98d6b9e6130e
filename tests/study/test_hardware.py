"""What the study takes of each class of GPUs."""

from __future__ import annotations

import pytest

from erragree_utils.models import memory
from erragree_utils.models.device import GIB
from erragree_utils.scale import SCALES
from erragree_utils.study import costs, hardware, plan


def test_reading_takes_operations_over_the_rate_and_writing_bytes_over_the_bandwidth():
    config, gpu = costs.llava_15_7b(), hardware.GPUS[0]
    reading = hardware.seconds_per_image(config, gpu, share=0.5, new_tokens=0)
    operations = costs.image_flops(config) + costs.text_flops(config, 576 + memory.TEXT_TOKENS)
    assert reading == pytest.approx(operations / (0.5 * gpu.rate))
    writing = hardware.seconds_per_image(config, gpu, new_tokens=1) - (
        hardware.seconds_per_image(config, gpu, new_tokens=0)
    )
    weights = memory.memory_need(config)["weights"]
    assert writing == pytest.approx(weights / gpu.bandwidth / memory.BATCH)


def test_one_h100_takes_what_was_measured_there():
    config, gpu = costs.llava_15_7b(), hardware.GPUS[-1]
    fast, slow = (
        hardware.MEASURED_PASSES * hardware.seconds_per_image(config, gpu, share=share) / 60
        for share in hardware.SHARES[::-1]
    )
    assert (fast, slow) == pytest.approx(hardware.MEASURED_MINUTES, rel=0.03)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(20, 70, "1 min"), (200, 400, "3 to 7 min"), (3000, 5400, "0.8 to 1.5 h")],
)
def test_times_are_told_in_a_few_words(low, high, text):
    assert hardware.span(low, high) == text


@pytest.fixture(scope="module")
def table():
    """Requirements of the whole study."""
    return hardware.requirements()


class TestRequirements:
    def test_a_t4_takes_4_bits_and_larger_ones_half_precision(self, table):
        assert table.loc["T4", "precision"] == "4bit"
        assert (table.drop("T4")["precision"] == "float16").all()
        assert table["fits"].all()

    def test_half_precision_does_not_fit_a_t4(self):
        forced = hardware.requirements(precision="float16")
        assert not forced.loc["T4", "fits"]
        assert forced.loc["T4", "largest_batch"] < memory.BATCH
        assert forced.drop("T4")["fits"].all()

    def test_the_largest_batch_fits_and_twice_as_many_do_not(self, table):
        config = costs.llava_15_7b()
        for name, row in table.iterrows():
            n, room = int(row["largest_batch"]), row["memory"] * GIB
            assert memory.memory_need(config, row["precision"], n)["needed"] <= room, name
            if n < 32:
                assert memory.memory_need(config, row["precision"], 2 * n)["needed"] > room, name

    def test_hours_are_seconds_times_passes(self, table):
        passes, config = hardware.study_images()["passes"].sum(), costs.llava_15_7b()
        for gpu, row in zip(hardware.GPUS, table.itertuples(), strict=True):
            seconds = hardware.seconds_per_image(config, gpu, row.precision, hardware.SHARES[0])
            assert row.hours_high == pytest.approx(seconds * passes / 3600), gpu.name
        assert (table["hours_low"] < table["hours_high"]).all()

    def test_readable_numbers_are_short(self, table):
        texts = hardware.readable(table)
        assert texts.loc["T4", "precision"] == "4bit" and texts.loc["T4", "fits"] == "yes"
        assert texts["the whole study"].str.fullmatch(r"[\d.]+ to [\d.]+ (h|min)").all()


class TestStudyImages:
    def test_every_task_of_the_language_model_is_there(self):
        table = hardware.study_images()
        tasks = [t for t in plan(SCALES["paper"]) if t.model.role == "mllm"]
        assert list(table["benchmark"]) == [task.benchmark for task in tasks]
        assert (table["passes"] >= table["images"]).all()

    def test_images_are_counted_as_published(self):
        assert hardware.published_images("whatsup-a") == 412
        assert hardware.published_images("coco-spatial") == 2247 + 440
        assert hardware.published_images("mmvp") == 300


def test_choices_agree_with_the_requirements_where_both_have_a_row():
    table = hardware.choices().set_index(["gpu", "precision", "batch"])
    assert len(table) == len(hardware.GPUS) * 2 * 6
    wanted = hardware.requirements(precision="4bit")
    parts = ["weights", "cache", "activations", "fixed", "memory", "hours_low", "hours_high"]
    for gpu in wanted.index:
        row = table.loc[(gpu, "4 bits", memory.BATCH)]
        assert row[parts].to_list() == pytest.approx(wanted.loc[gpu, parts].to_list())
    assert table.loc[("T4", "16 bits", 32), "cache"] == pytest.approx(
        32 * table.loc[("T4", "16 bits", 1), "cache"]
    )
