"""Whether images find their objects: among the captions of other sets, and among names."""

from __future__ import annotations

import pytest
from PIL import Image

from erragree_utils.scoring.retrieval import evaluate_retrieval, zero_shot


def plain(*shades: str) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), shade) for shade in shades]


class TestRetrieval:
    def test_it_asks_for_the_objects_at_one_relation(self, colours, pair):
        pairs = (
            pair("p", ("red left", "red right"), ("red", "red")),
            pair("q", ("lime left green", "green right"), ("lime", "blue")),
            pair("r", ("blue left", "blue right"), ("blue", "blue")),
        )
        table = evaluate_retrieval(colours, pairs)
        assert list(table) == [
            "pair_id", "set_id", "relation", "image_index", "rank", "n_options", "correct",
        ]  # fmt: skip
        assert (table["n_options"] == 3).all() and colours.images == 6
        wrong = table[~table["correct"]]
        assert wrong[["pair_id", "image_index"]].to_numpy().tolist() == [["q", 1]]
        assert wrong["rank"].item() > 1

    def test_relations_are_asked_about_apart(self, colours, pair):
        pairs = [
            pair(f"{relation}-{shade}", (f"{shade} {relation}", f"{shade} other"), (shade,) * 2,
                 relation=relation)
            for relation in ("left/right", "on/under") for shade in ("red", "blue")
        ]  # fmt: skip
        table = evaluate_retrieval(colours, pairs)
        assert (table["n_options"] == 2).all() and table["correct"].all()

    def test_it_needs_two_sets(self, colours, pair):
        with pytest.raises(ValueError, match="two different captions"):
            evaluate_retrieval(colours, [pair("p", ("red", "green"), ("red", "lime"))])
        with pytest.raises(ValueError, match="no pairs"):
            evaluate_retrieval(colours, [])


class TestZeroShot:
    def test_the_nearest_label_is_named(self, colours):
        images, labels = plain("blue", "red", "red"), ["red", "green", "blue"]
        assert zero_shot(colours, images, labels, ["a {} thing", "{}"]).tolist() == [2, 0, 0]

    def test_labels_and_templates_may_come_from_generators(self, colours):
        labels, templates = (x for x in ("red", "blue")), (x for x in ("a {} thing", "{}"))
        assert zero_shot(colours, plain("blue"), labels, templates).tolist() == [1]

    def test_templates_without_a_place_for_the_label_are_refused(self, colours):
        with pytest.raises(ValueError, match="'a thing' has no {}"):
            zero_shot(colours, [], ["red"], ["a thing"])
        with pytest.raises(ValueError, match="needs labels and templates"):
            zero_shot(colours, [], ["red"], [])
        with pytest.raises(TypeError, match=r"templates is a list.*wrap the single one in \[ \]"):
            zero_shot(colours, [], ["red"], "a {}")
