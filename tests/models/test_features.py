"""Images that are remembered by their pixels, within a budget."""

from __future__ import annotations

import torch
from PIL import Image

from erragree_utils.models.features import Memory, Seen, stacked

COLOURS = ("red", "green", "blue", "white")


def units(*colours: str) -> list[list[Image.Image]]:
    return [[Image.new("RGB", (4, 4), colour)] for colour in colours]


class Eye:
    """Sees images as four bytes each, and counts them."""

    def __init__(self, memory: Memory):
        self.memory, self.seen = memory, []

    def __call__(self, *colours: str) -> list[Seen]:
        def see(fresh: list[int]) -> list[Seen]:
            self.seen += [colours[k] for k in fresh]
            return [Seen({"pixel_values": torch.ones(1)}, [1]) for _ in fresh]

        return self.memory.recalled(units(*colours), see)


def test_equal_pixels_are_seen_once_in_one_call_or_several():
    eye = Eye(Memory())
    a, b, again = eye("red", "blue", "red")
    assert a is again and a is not b and eye.seen == ["red", "blue"]
    assert eye("blue", "red", "white")[:2] == [b, a] and eye.seen == ["red", "blue", "white"]


def test_size_counts_too():
    one, other = Image.new("RGB", (2, 8)), Image.new("RGB", (8, 2))
    assert one.tobytes() == other.tobytes()
    assert Memory.key([one]) != Memory.key([other])


def test_what_was_used_longest_ago_is_forgotten_first():
    eye = Eye(Memory(budget=8))  # two images
    eye("red")
    eye("blue")
    eye("red")
    eye("white")
    eye("red", "white")
    assert eye.seen == ["red", "blue", "white"]
    eye("blue")
    assert eye.seen[-1] == "blue"


def test_features_that_came_later_count():
    eye = Eye(Memory(budget=16))
    (seen,) = eye("red")
    seen.features = [torch.ones(2, 2)]
    assert seen.size == 4 + 16
    eye("blue")
    eye("red")
    assert eye.seen == ["red", "blue", "red"]


def test_a_call_gets_all_it_asked_for_though_the_budget_is_smaller():
    eye = Eye(Memory(budget=0))
    assert len(eye(*COLOURS)) == 4


def test_so_many_are_kept_though_the_budget_is_smaller():
    eye = Eye(Memory(budget=0, least=2))
    for colour in ("red", "blue", "red", "blue", "white", "blue", "white"):
        eye(colour)
    assert eye.seen == ["red", "blue", "white"]
    eye("red")
    assert eye.seen[-1] == "red"


def test_images_of_different_numbers_of_crops_are_filled_up():
    found = stacked([torch.ones(1, 2, 3), torch.ones(2, 4, 3)])
    assert found.shape == (3, 4, 3) and found.sum() == 6 + 24 and found[0, 2:].sum() == 0
    assert stacked([torch.tensor([1]), torch.tensor([2])]).tolist() == [1, 2]
