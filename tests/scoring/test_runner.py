"""From model and benchmark to tidy tables."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from erragree_utils import evaluate, load_clip, summarize, summarize_sets
from erragree_utils.benchmarks import Benchmark, ImageError, ImagePair
from erragree_utils.models import EncodeError
from erragree_utils.scoring.runner import evaluate_retrieval, zero_shot
from erragree_utils.training.clip import Settings, build_model, build_tokenizer, save

COLUMNS = [
    "pair_id", "set_id", "relation", "image_index", "model", "method", "n_options", "score_own",
    "score_other", "correct",
]  # fmt: skip
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


class Colours:
    """A model that can be checked by eye: images embed as their colour, texts as what they name."""

    name = "colours"

    def __init__(self):
        self.images, self.texts = 0, Counter()

    def embed_images(self, images, batch_size=64, progress=False):
        rows = [np.asarray(image.convert("RGB"), np.float32)[0, 0] for image in images]
        self.images += len(rows)
        return self._unit(rows)

    def embed_texts(self, texts, batch_size=256):
        self.texts.update(texts)
        return self._unit([
            [10 * ("red" in text) + 0.1, 10 * ("green" in text) + 0.1, 10 * ("blue" in text) + 0.1]
            for text in texts
        ])  # fmt: skip

    @staticmethod
    def _unit(rows):
        rows = np.asarray(rows, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pair(name, captions, colours, set_id=None, relation="left/right") -> ImagePair:
    images = tuple(Image.new("RGB", (8, 8), colour) for colour in colours)
    return ImagePair(name, set_id or name, relation, captions, images)


def bench(*pairs) -> Benchmark:
    return Benchmark("colours", pairs)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A small CLIP with the mini one's vocabulary and random weights, read through open_clip."""
    settings = Settings(image_size=20, width=32, layers=2, text_layers=1, embed_dim=16)
    tokenizer = build_tokenizer(settings.context)
    folder = tmp_path_factory.mktemp("untrained")
    save(build_model(settings, len(tokenizer)), tokenizer, settings, folder)
    return load_clip(folder, device="cpu")


def test_a_row_for_each_image_in_the_benchmarks_order():
    pred = evaluate(Colours(), bench(pair("p", ("red", "green"), (RED, GREEN), "s")))
    assert list(pred.columns) == COLUMNS
    assert pred["image_index"].tolist() == [0, 1]
    assert set(pred["model"]) == {"colours"}
    assert (pred["method"] == "matching").all() and (pred["n_options"] == 2).all()
    assert pred["correct"].tolist() == [True, True]
    assert (pred["score_own"] > 0.99).all() and (pred["score_other"] < 0.1).all()


def test_each_image_is_scored_with_its_own_caption_and_the_pairs_other_one():
    pred = evaluate(Colours(), bench(pair("p", ("green", "red"), (RED, RED))))
    assert pred["correct"].tolist() == [False, True]
    assert pred["score_own"].tolist() == pred["score_other"].tolist()[::-1]


def test_a_tie_is_not_correct():
    pred = evaluate(Colours(), bench(pair("p", ("one thing", "another"), (RED, GREEN))))
    assert (pred["score_own"] == pred["score_other"]).all()
    assert not pred["correct"].any()


def test_captions_that_are_equal_leave_a_tie():
    pred = evaluate(Colours(), bench(pair("p", ("red", "red"), (RED, RED))))
    assert not pred["correct"].any()


SET = (
    pair("p", ("red", "green"), (RED, GREEN), "s"),
    pair("q", ("blue", "red green blue"), (BLUE, WHITE), "s", "on/under"),
)


def test_matching_all_competes_with_every_caption_of_the_set():
    model = Colours()
    pred = evaluate(model, bench(*SET), method="matching-all")
    assert (pred["n_options"] == 4).all() and pred["correct"].all()
    # The best of the others: the white caption, for the red image.
    texts = model.embed_texts(["red", "red green blue"])
    assert pred["score_other"][0] == pytest.approx(texts[1] @ [1, 0, 0], abs=1e-5)
    assert summarize(pred)["pair_chance"].item() == 1 / 16
    assert summarize_sets(pred)["set_chance"].item() == 1 / 256


def test_two_way_can_be_right_where_four_way_is_wrong():
    # Both images of the second pair are red: its captions lose to "red", but not to each other.
    pairs = (SET[0], pair("q", ("red blue", "green"), (RED, GREEN), "s", "on/under"))
    two, four = (evaluate(Colours(), bench(*pairs), method=m) for m in ("matching", "matching-all"))
    assert two["correct"].tolist() == [True] * 4
    assert four["correct"].tolist() == [True, True, False, True]
    assert four["n_options"].tolist() == [3] * 4  # "green" is one option, though it stands twice


def test_from_text_to_image_each_caption_chooses_between_the_two_images():
    # Both images are nearest to "red"; yet of the two images each caption prefers its own.
    pairs = bench(pair("p", ("red", "red green"), (RED, (255, 40, 0))))
    to_text, to_image = (
        evaluate(Colours(), pairs, method=m) for m in ("matching", "matching-text-to-image")
    )
    images = Colours().embed_images(pairs[0].images)
    texts = Colours().embed_texts(pairs[0].captions)
    cosines = images @ texts.T
    np.testing.assert_allclose(to_image["score_own"], np.diag(cosines), atol=1e-6)
    np.testing.assert_allclose(to_image["score_other"], [cosines[1, 0], cosines[0, 1]], atol=1e-6)
    np.testing.assert_allclose(to_text["score_other"], [cosines[0, 1], cosines[1, 0]], atol=1e-6)
    assert to_text["correct"].tolist() == [True, False]
    assert to_image["correct"].tolist() == [True, True]
    assert list(to_image.columns) == COLUMNS and (to_image["n_options"] == 2).all()
    assert to_image["image_index"].tolist() == [0, 1]


def test_from_text_to_image_a_tie_is_not_correct_for_either_caption():
    pred = evaluate(
        Colours(), bench(pair("p", ("red", "green"), (RED, RED))), "matching-text-to-image"
    )
    assert (pred["score_own"] == pred["score_other"]).all() and not pred["correct"].any()


def test_from_text_to_image_needs_two_images():
    single = bench(pair("p", ("red", "green"), (RED,)))
    with pytest.raises(ValueError, match="pair 'p' has a single image"):
        evaluate(Colours(), single, "matching-text-to-image")


def test_single_images_have_one_row():
    pred = evaluate(Colours(), bench(pair("p", ("red", "green"), (RED,), relation="left")))
    assert (len(pred), pred["correct"].item()) == (1, True)
    assert np.isnan(summarize(pred)["pair_accuracy"].item())


def test_each_image_and_each_caption_is_encoded_once():
    shared = Image.new("RGB", (8, 8), RED)
    pairs = [ImagePair(f"p{i}", f"s{i}", "left", ("red", "green"), (shared,)) for i in range(5)]
    model = Colours()
    assert len(evaluate(model, bench(*pairs))) == 5
    assert model.images == 1
    assert set(model.texts.values()) == {1}


def test_files_are_not_all_held_in_memory(tmp_path):
    # A generator arrives at the model, which opens as many images as it needs at a time.
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path in paths:
        Image.new("RGB", (8, 8), RED).save(path)

    class OneByOne(Colours):
        def embed_images(self, images, batch_size=64, progress=False):
            rows = []
            for image in images:
                rows.append(super().embed_images([image]))
                opened.append(len(rows))
            return np.concatenate(rows)

    class Watched(ImagePair):
        @property
        def images(self):
            opened.append(f"open {self.pair_id}")
            return super().images

    opened = []
    pairs = [Watched(f"p{i}", f"s{i}", "l", ("red", "green"), (p,)) for i, p in enumerate(paths)]
    evaluate(OneByOne(), bench(*pairs))
    assert opened[:4] == ["open p0", 1, "open p1", 2]


def test_a_missing_image_is_named_with_its_pair(untrained, tmp_path):
    broken = ImagePair("mug", "s", "left", ("a", "b"), (tmp_path / "gone.jpeg",))
    with pytest.raises(ImageError, match=r"'mug'.*gone\.jpeg"):
        evaluate(untrained, bench(pair("p", ("red", "green"), (RED, GREEN)), broken))


def test_what_cannot_be_encoded_is_named_with_its_pair(untrained, monkeypatch):
    with pytest.raises(EncodeError, match="caption of pair 'q': text 2 is ''"):
        evaluate(untrained, bench(SET[0], pair("q", ("", "red"), (RED, RED))))

    def refuse_white(image):
        if image.getpixel((0, 0)) == WHITE:
            raise ValueError("too bright")
        return untrained.preprocess(image)

    picky = load_like(untrained, refuse_white)
    with pytest.raises(EncodeError, match="image 1 of pair 'q': image 3 .*too bright"):
        evaluate(picky, bench(*SET), batch_size=2)


def load_like(clip, preprocess):
    return type(clip)(
        clip.name, clip.weights, clip.model, preprocess, clip.tokenizer, clip.embed_dim,
        clip.device, clip.dtype,
    )  # fmt: skip


def test_a_real_clip_gives_the_cosines_of_its_embeddings(untrained):
    pred = evaluate(untrained, bench(*SET), batch_size=3)
    images = untrained.embed_images([image for p in SET for image in p.images])
    texts = untrained.embed_texts([caption for p in SET for caption in p.captions])
    np.testing.assert_allclose(pred["score_own"], (images * texts).sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(
        pred["score_other"], (images * texts[[1, 0, 3, 2]]).sum(axis=1), atol=1e-6
    )


def test_unknown_methods_and_empty_benchmarks_are_refused():
    with pytest.raises(ValueError, match="unknown method 'guess'; choose one of matching"):
        evaluate(Colours(), bench(*SET), method="guess")
    with pytest.raises(ValueError, match="'vqascore' is not for .*choose one of matching, match"):
        evaluate(Colours(), bench(*SET), method="vqascore")
    with pytest.raises(ValueError, match="no pairs"):
        evaluate(Colours(), bench())


def test_clip_cannot_be_asked_blind():
    with pytest.raises(ValueError, match="without an image"):
        evaluate(Colours(), bench(*SET), blind=True)


def test_retrieval_asks_for_the_objects_at_one_relation():
    pairs = (
        pair("p", ("red left", "red right"), (RED, RED)),
        pair("q", ("green left", "green right"), (GREEN, BLUE)),
        pair("r", ("blue left", "blue right"), (BLUE, BLUE)),
    )
    table = evaluate_retrieval(Colours(), bench(*pairs))
    assert list(table.columns) == [
        "pair_id", "set_id", "relation", "image_index", "rank", "n_options", "correct",
    ]  # fmt: skip
    assert (table["n_options"] == 3).all()
    wrong = table[~table["correct"]]
    assert wrong[["pair_id", "image_index"]].to_numpy().tolist() == [["q", 1]]
    assert wrong["rank"].item() > 1


def test_retrieval_needs_two_sets():
    with pytest.raises(ValueError, match="two different captions"):
        evaluate_retrieval(Colours(), bench(pair("p", ("red", "green"), (RED, GREEN))))


def test_zero_shot_names_the_nearest_label():
    images = [Image.new("RGB", (8, 8), colour) for colour in (BLUE, RED, RED)]
    chosen = zero_shot(Colours(), images, ["red", "green", "blue"], ["a {} thing", "{}"])
    assert chosen.tolist() == [2, 0, 0]


def test_labels_and_templates_may_come_from_generators():
    images = [Image.new("RGB", (8, 8), BLUE)]
    labels, templates = (x for x in ("red", "blue")), (x for x in ("a {} thing", "{}"))
    assert zero_shot(Colours(), images, labels, templates).tolist() == [1]


def test_zero_shot_refuses_templates_without_a_place_for_the_label():
    with pytest.raises(ValueError, match="'a thing' has no {}"):
        zero_shot(Colours(), [], ["red"], ["a thing"])
    with pytest.raises(ValueError, match="needs labels and templates"):
        zero_shot(Colours(), [], ["red"], [])
    with pytest.raises(TypeError, match=r"templates is a list.*wrap the single one in \[ \]"):
        zero_shot(Colours(), [], ["red"], "a {}")
