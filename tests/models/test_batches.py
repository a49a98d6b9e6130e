"""Batches that shrink when the memory is too small."""

from __future__ import annotations

import pytest
import torch

from erragree_utils.models.batches import BatchSizeReduced, Room, in_batches


def test_items_come_in_order_with_the_index_of_each_batch():
    seen = in_batches(range(7), 3, lambda batch, first: (first, batch))
    assert seen == [(0, [0, 1, 2]), (3, [3, 4, 5]), (6, [6])]


def test_a_generator_is_read_a_batch_at_a_time():
    drawn = []

    def source():
        for item in range(6):
            drawn.append(item)
            yield item

    sizes = in_batches(source(), 2, lambda batch, first: len(drawn) - first)
    assert sizes == [2, 2, 2]


def failing_above(limit: int, error: BaseException):
    """An encoder whose device holds so many items, and a list of what it was given."""
    tried = []

    def encode(batch, first):
        tried.append(len(batch))
        if len(batch) > limit:
            raise error
        return batch

    return encode, tried


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory")],
    ids=["cuda", "mps"],
)
def test_out_of_memory_halves_the_batch_and_goes_on_where_it_stopped(error):
    encode, tried = failing_above(3, error)
    with pytest.warns(BatchSizeReduced, match="batch size reduced to [42]") as warned:
        parts = in_batches(iter(range(11)), 8, encode)
    assert [warning.message.batch_size for warning in warned] == [4, 2]
    assert [item for part in parts for item in part] == list(range(11))
    assert tried == [8, 4, 2, 2, 2, 2, 2, 1]


class TestRoom:
    """What a model's device holds is learnt once."""

    def test_a_second_call_does_not_try_again_what_did_not_fit(self):
        encode, tried = failing_above(3, torch.OutOfMemoryError("CUDA out of memory"))
        room = Room()
        with pytest.warns(BatchSizeReduced):
            in_batches(range(8), 8, encode, room=room)
        assert tried == [8, 4, 2, 2, 2, 2] and room.rows == 2
        tried.clear()
        in_batches(range(5), 8, encode, room=room)
        assert tried == [2, 2, 1]

    def test_what_is_known_beforehand_is_not_exceeded(self):
        assert in_batches(range(5), 8, lambda batch, _: len(batch), room=Room(4)) == [4, 1]

    def test_a_number_that_is_asked_for_is_an_upper_bound(self):
        assert in_batches(range(5), 2, lambda batch, _: len(batch), room=Room(4)) == [2, 2, 1]

    def test_items_may_take_several_rows_each(self):
        encode, tried = failing_above(1, torch.OutOfMemoryError("CUDA out of memory"))
        room = Room(4)
        with pytest.warns(BatchSizeReduced):
            in_batches(range(3), 8, encode, room=room, rows_each=2)
        assert tried == [2, 1, 1, 1] and room.rows == 2
        assert in_batches(range(2), 8, lambda batch, _: len(batch), room=room) == [2]

    def test_one_item_is_tried_however_little_room_there_is(self):
        room = Room(1)
        assert in_batches(range(2), 8, lambda b, _: len(b), room=room, rows_each=2) == [1, 1]


@pytest.mark.filterwarnings("ignore:out of memory")
def test_out_of_memory_with_one_item_says_what_to_do():
    encode, _ = failing_above(0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError, match="batch of one: close other programs"):
        in_batches(range(4), 4, encode)


def test_other_errors_pass_through_at_once():
    encode, tried = failing_above(0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(range(4), 4, encode)
    assert tried == [4]


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_batch_sizes_that_are_not_positive_integers_are_refused(size):
    with pytest.raises(ValueError, match="positive integer"):
        in_batches(range(3), size, lambda batch, first: batch)


def test_items_are_prepared_once_and_come_in_order():
    prepared = []

    def prepare(batch, first):
        prepared.append((first, list(batch)))
        return [10 * item for item in batch]

    encode, tried = failing_above(2, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.warns(BatchSizeReduced):
        found = in_batches(iter(range(7)), 4, encode, prepare=prepare)
    assert [item for part in found for item in part] == [10 * k for k in range(7)]
    assert sorted(k for _, batch in prepared for k in batch) == list(range(7))
    assert all(batch[0] == first for first, batch in prepared)
