"""Images with captions, scores and maps, read back from their artists."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from erragree_utils import plots
from erragree_utils.benchmarks import ImagePair, QuestionPair
from erragree_utils.plots import pictures


def question_pair(number: int = 0):
    images = tuple(Image.new("RGB", (80, 80), (60 * k, 100, 40 * number)) for k in range(2))
    return QuestionPair(f"p{number}", "state", "Is the box open or closed?", ("open", "closed"),
                        images)  # fmt: skip


def test_a_pair_shows_its_images_with_their_own_captions_and_scores(pair, predictions, texts):
    figure = plots.show_pair(pair(), predictions([(0.02, -0.01)]))
    assert len(figure.axes) == 2
    for ax, caption in zip(figure.axes, pair().captions, strict=True):
        assert ax.get_xlabel().replace("\n", " ") == caption
        assert len(ax.images) == 1
    shown = texts(figure)
    assert "own 0.3200   other 0.3000\n✓ matched" in shown
    assert "own 0.2900   other 0.3000\n✗ not matched" in shown


def test_a_single_image_is_shown_alone(pair):
    assert len(plots.show_pair(pair(1)).axes) == 1


def test_scores_of_several_methods_must_be_narrowed_first(pair, predictions):
    double = pd.concat([predictions([(0.1, 0.1)])] * 2)
    with pytest.raises(ValueError, match="Select one model and method"):
        plots.show_pair(pair(), double)
    with pytest.raises(ValueError, match="it has 0"):
        plots.show_pair(pair(), predictions([]))


def test_a_set_shows_four_images(pair):
    other = ImagePair("p1", "s0", "on/under", ("on", "under"), pair().sources)
    figure = plots.show_set([pair(), other])
    assert [ax.get_xlabel() for ax in figure.axes][2:] == ["on", "under"]
    stranger = ImagePair("p2", "s9", "on/under", ("on", "under"), pair().sources)
    with pytest.raises(ValueError, match="belong to 2"):
        plots.show_set([pair(), stranger])


def test_what_is_shown_may_come_from_generators(pair):
    assert len(plots.show_set(p for p in [pair()]).axes) == 2
    boxes = {"cause": (0.2, 0.5, "varied"), "effect": (0.8, 0.5, "measured")}
    drawn = [
        len(plots.causal_diagram(boxes, given).axes[0].texts)
        for given in ([("cause", "effect")], (arrow for arrow in [("cause", "effect")]), [])
    ]
    assert drawn[0] == drawn[1] == drawn[2] + 1


def test_a_turned_photograph_is_shown_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (30, 20))
    image.info["exif"] = exif.tobytes()
    assert plots.show_images([image], [""]).axes[0].images[0].get_array().shape == (30, 20, 3)


def test_readers_stand_below_the_images_with_captions_in_one_order(pair, predictions):
    figure = plots.show_readers(
        pair(), {"CLIP": predictions([(0.02, -0.01)]), "LLaVA": predictions([(0.2, 0.1)])}
    )
    assert len(figure.axes) == 6
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 0, 0, 0, 0]
    widths = [[bar.get_width() for bar in ax.patches] for ax in figure.axes[2:4]]
    # Own caption first for the first image, second for the second.
    np.testing.assert_allclose(widths, [[0.32, 0.3], [0.3, 0.29]])
    titles = [ax.get_title(loc="left") for ax in figure.axes[2:]]
    assert titles == [
        "CLIP: ✓ matched", "CLIP: ✗ not matched", "LLaVA: ✓ matched", "LLaVA: ✓ matched",
    ]  # fmt: skip
    labels = [label.get_text().replace("\n", " ") for label in figure.axes[2].get_yticklabels()]
    assert labels == list(pair().captions)
    assert figure.patch.get_facecolor()[:3] == (1, 1, 1)


def test_a_tie_is_not_matched_by_a_reader(pair, predictions, texts):
    figure = plots.show_readers(pair(), {"a": predictions([(0.0, 0.0)])})
    assert texts(figure).count("✗ not matched") == 2


def test_readers_of_single_images_and_of_negative_scores_are_shown(pair, predictions):
    negative = predictions([(0.1,)])
    negative[["score_own", "score_other"]] -= 1.0
    figure = plots.show_readers(pair(1), {"a": negative})
    ax = figure.axes[1]
    assert ax.get_xlim()[0] <= -0.7 and ax.patches[0].get_width() == pytest.approx(-0.6)


def test_readers_need_one_two_way_row_for_each_image(pair, predictions):
    with pytest.raises(ValueError, match="at least one reader"):
        plots.show_readers(pair(), {})
    four_way = predictions([(0.1, 0.1)]).assign(n_options=4)
    for table in (four_way, pd.concat([predictions([(0.1, 0.1)])] * 2), predictions([(0.1,)])):
        with pytest.raises(ValueError, match="a must have (one row for each image|two options)"):
            plots.show_readers(pair(), {"a": table})


def test_saliency_is_signed_and_lies_on_the_whole_image(pair):
    values = np.array([[2.0, -1.0], [0.0, 0.5]])
    figure = plots.saliency_maps(
        [pair().images[0], None], [values, values], ["own caption", "mean"]
    )
    below, above = figure.axes[0].images
    np.testing.assert_allclose(above.get_array(), values / 2)
    assert above.get_extent() == below.get_extent() == [-0.5, 79.5, 79.5, -0.5]
    assert len(figure.axes[1].images) == 1
    positive, negative, nothing = (above.cmap(above.norm(v)) for v in (1.0, -1.0, 0.0))
    assert positive[:3] == pytest.approx(to_rgb(pictures.FOR))
    assert negative[:3] == pytest.approx(to_rgb(pictures.AGAINST))
    assert positive[3] == negative[3] > 0.8 and nothing[3] == 0
    assert [ax.get_title() for ax in figure.axes[:2]] == ["own caption", "mean"]
    assert all(ax.patch.get_facecolor()[3] == 0 for ax in figure.axes)
    with pytest.raises(ValueError, match="2 images, 1 maps, 2 titles"):
        plots.saliency_maps(pair().images, [values], ["a", "b"])


class TestQuestionPairs:
    def test_each_pair_has_its_question_and_its_answers_below_the_images(self, texts):
        figure = plots.question_pairs([question_pair(0), question_pair(1)], ["first", "second"])
        shown = texts(figure)
        assert shown.count("Is the box open or closed?") == 2
        assert shown.count("open |") >= 2 and "first" in shown and "second" in shown
        assert len(figure.findobj(matplotlib.image.AxesImage)) == 4
        assert figure.patch.get_facecolor()[:3] == (1, 1, 1)

    def test_the_pattern_is_the_note_by_default_and_rows_may_be_incomplete(self, texts):
        figure = plots.question_pairs([question_pair(i) for i in range(4)])
        assert texts(figure).count("state") == 4
        for pairs, notes in (([], None), ([question_pair()], ["a", "b"])):
            with pytest.raises(ValueError, match="a note for each"):
                plots.question_pairs(pairs, notes)


def test_one_image_has_its_caption_below(texts):
    assert "a mug" in texts(plots.show_images([Image.new("RGB", (20, 20))], ["a mug"]))
