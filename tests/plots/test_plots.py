"""What the pictures show, read back from their artists."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from erragree_utils.benchmarks import ImagePair
from erragree_utils.benchmarks.mmvp import QuestionPair
from erragree_utils.measures.metrics import summarize, summarize_sets
from erragree_utils.plots import figures as plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def predictions(margins, relation="left/right") -> pd.DataFrame:
    rows = [
        (f"p{i}", f"s{i}", relation, k, 2, 0.3 + margin, 0.3, margin > 0)
        for i, both in enumerate(margins)
        for k, margin in enumerate(both)
    ]
    names = [
        "pair_id",
        "set_id",
        "relation",
        "image_index",
        "n_options",
        "score_own",
        "score_other",
        "correct",
    ]
    return pd.DataFrame(rows, columns=names).assign(model="m", method="matching")


MARGINS = [(0.02, 0.01), (0.03, -0.02), (-0.01, 0.01), (-0.01, 0.02), (-0.02, -0.01)]


def pair(n: int = 2) -> ImagePair:
    images = tuple(Image.new("RGB", (80, 80), (60 * i, 100, 0)) for i in range(n))
    captions = ("A red mug to the left of a very wide table", "A red mug to the right of it")
    return ImagePair("p0", "s0", "left/right", captions, images)


def texts(figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def luminance(colour) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [plots.INK, plots.WRONG, *plots.COLOURS])
@pytest.mark.parametrize("background", ["white", "#121212"])
def test_colours_read_on_light_and_on_dark_pages(colour, background):
    light, dark = sorted((luminance(colour), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 3  # WCAG for graphics and large text


def test_every_figure_is_transparent():
    pred = predictions(MARGINS)
    figures = [
        plots.cosine_histogram({"a": pd.DataFrame({"cosine": [0.9, 0.99]})}).figure,
        plots.show_pair(pair()),
        plots.accuracy_bars(summarize(pred)),
        plots.score_scatter(pred).figure,
        plots.joint_outcomes(pred).figure,
    ]
    for figure in figures:
        assert figure.patch.get_facecolor()[3] == 0
        assert all(ax.patch.get_facecolor()[3] == 0 for ax in figure.axes)


def test_the_histogram_shows_shares_that_add_up_and_the_means():
    tables = {
        "left/right": pd.DataFrame({"cosine": [0.99, 1.0, 1.0 + 1e-9]}),
        "random": pd.DataFrame({"cosine": [0.1, -0.4, 0.2, 0.3]}),
    }
    ax = plots.cosine_histogram(tables)
    for steps in ax.findobj(matplotlib.patches.StepPatch):
        assert steps.get_data().values.sum() == pytest.approx(1)
    legend = texts(ax.figure)
    assert "left/right: mean 0.9967 (n = 3)" in legend
    assert "random: mean 0.05 (n = 4)" in legend
    assert "Cosine similarity" in ax.get_xlabel() and "Share of pairs" in ax.get_ylabel()


def test_the_histogram_draws_into_axes_that_are_given():
    _, ax = plt.subplots()
    assert plots.cosine_histogram({"a": pd.DataFrame({"cosine": [0.5]})}, ax=ax) is ax


@pytest.mark.parametrize(
    "tables", [{}, {"a": pd.DataFrame({"cosine": []})}, {"a": pd.DataFrame({"cosine": [np.nan]})}]
)
def test_the_histogram_refuses_tables_without_cosines(tables):
    with pytest.raises(ValueError, match="cosine"):
        plots.cosine_histogram(tables)


def test_a_pair_shows_its_images_with_their_own_captions_and_scores():
    figure = plots.show_pair(pair(), predictions([(0.02, -0.01)]))
    assert len(figure.axes) == 2
    for ax, caption in zip(figure.axes, pair().captions, strict=True):
        assert ax.get_xlabel().replace("\n", " ") == caption
        assert len(ax.images) == 1
    shown = texts(figure)
    assert "own 0.3200   other 0.3000\n✓ matched" in shown
    assert "own 0.2900   other 0.3000\n✗ not matched" in shown


def test_a_single_image_is_shown_alone():
    assert len(plots.show_pair(pair(1)).axes) == 1


def test_scores_of_several_methods_must_be_narrowed_first():
    double = pd.concat([predictions([(0.1, 0.1)])] * 2)
    with pytest.raises(ValueError, match="Select one model and method"):
        plots.show_pair(pair(), double)
    with pytest.raises(ValueError, match="it has 0"):
        plots.show_pair(pair(), predictions([]))


def test_a_set_shows_four_images():
    other = ImagePair("p1", "s0", "on/under", ("on", "under"), pair().sources)
    figure = plots.show_set([pair(), other])
    assert [ax.get_xlabel() for ax in figure.axes][2:] == ["on", "under"]
    stranger = ImagePair("p2", "s9", "on/under", ("on", "under"), pair().sources)
    with pytest.raises(ValueError, match="belong to 2"):
        plots.show_set([pair(), stranger])


def test_what_is_shown_may_come_from_generators():
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
    assert plots.show_image(image).axes[0].images[0].get_array().shape == (30, 20, 3)


def test_accuracies_have_a_panel_each_with_dots_intervals_and_chance():
    pred = pd.concat([predictions(MARGINS), predictions(MARGINS[:2], "on/under")])
    summary = summarize(pred, by="relation")
    figure = plots.accuracy_bars(summary.join(summarize_sets(pred, by="relation")))
    assert [ax.get_title() for ax in figure.axes] == [
        "Individual accuracy", "Pair accuracy", "Set accuracy",
    ]  # fmt: skip
    ax = figure.axes[1]
    dots = ax.containers[0]
    np.testing.assert_allclose(dots.lines[0].get_xdata(), summary["pair_accuracy"])
    low = [segment[0][0] for segment in dots.lines[2][0].get_segments()]
    np.testing.assert_allclose(low, summary["pair_accuracy_low"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "left/right",
        "on/under",
    ]
    chance = next(lines for lines in ax.collections if lines.get_label() == "chance")
    assert {segment[0][0] for segment in chance.get_segments()} == {0.25}


def test_reported_numbers_stand_beside_as_hollow_markers():
    summary = summarize(predictions(MARGINS), by="relation")
    paper = {"left/right": {"individual_accuracy": 0.49, "pair_accuracy": 0.019}}
    figure = plots.accuracy_bars(summary, paper=paper)
    marker = next(line for line in figure.axes[1].lines if line.get_marker() == "D")
    assert marker.get_xdata()[0] == 0.019
    assert marker.get_markerfacecolor() == "none"
    assert "reported in the paper" in texts(figure)
    assert "reported in the paper" not in texts(plots.accuracy_bars(summary))


@pytest.mark.parametrize(
    ("paper", "message"),
    [
        ({"above": {"pair_accuracy": 0.5}}, "row 'above'"),
        ({"left/right": {"pair": 0.5}}, "use individual_accuracy"),
        ({"left/right": {"pair_accuracy": 1.9}}, "share from 0 to 1, not 1.9"),
    ],
)
def test_reported_numbers_that_fit_nowhere_are_refused(paper, message):
    with pytest.raises(ValueError, match=message):
        plots.accuracy_bars(summarize(predictions(MARGINS), by="relation"), paper=paper)


def test_a_summary_without_accuracies_is_refused():
    with pytest.raises(ValueError, match="give what summarize returned"):
        plots.accuracy_bars(pd.DataFrame({"x": [1]}))


def test_the_scatter_counts_its_quadrants():
    ax = plots.score_scatter(predictions(MARGINS))
    shown = texts(ax.figure)
    for text in (
        "both matched\n20% of pairs",
        "only “left” image\n20% of pairs",
        "only “right” image\n40% of pairs",
        "neither matched\n20% of pairs",
    ):
        assert text in shown
    points = np.concatenate([dots.get_offsets() for dots in ax.collections])
    assert sorted(map(tuple, points.round(6))) == sorted(MARGINS)


def test_the_scatter_leaves_out_pairs_that_lack_an_image_and_needs_some():
    with pytest.raises(ValueError, match="no pairs of two images"):
        plots.score_scatter(predictions([(0.1,), (0.2,)]))
    with pytest.raises(ValueError, match="occurs twice"):
        plots.score_scatter(pd.concat([predictions(MARGINS)] * 2))


def test_joint_outcomes_stand_beside_what_independence_would_give():
    shown = texts(plots.joint_outcomes(predictions(MARGINS)).figure)
    # Left matched in 2 of 5, right in 3 of 5; both in 1 of 5, against 2/5 * 3/5.
    assert "20% | if independent: 24%" in shown
    assert "40% | if independent: 36%" in shown
    other = predictions(MARGINS, "on/under").assign(pair_id=lambda table: "q" + table["pair_id"])
    mixed = pd.concat([predictions(MARGINS), other])
    assert "first image" in texts(plots.joint_outcomes(mixed).figure)


def test_a_curve_shows_means_and_their_intervals():
    table = pd.DataFrame(
        {"mean": [0.5, 0.7], "mean_low": [0.4, 0.6], "mean_high": [0.6, 0.9]}, index=[1.0, 2.0]
    )
    ax = plots.curve(table, "gap (scene units)", "cosine")
    assert ax.get_xlabel() == "gap (scene units)" and ax.get_ylabel() == "cosine"
    assert ax.lines[0].get_ydata().tolist() == [0.5, 0.7]
    bottom, top = ax.collections[0].get_paths()[0].vertices[:, 1].min(), 0.9
    assert bottom == pytest.approx(0.4)
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(top)
    with pytest.raises(ValueError, match="mean_low"):
        plots.curve(table.drop(columns="mean_low"), "x", "y")


def test_readers_stand_below_the_images_with_captions_in_one_order():
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
    assert figure.patch.get_facecolor()[3] == 0


def test_a_tie_is_not_matched_by_a_reader():
    figure = plots.show_readers(pair(), {"a": predictions([(0.0, 0.0)])})
    assert texts(figure).count("✗ not matched") == 2


def test_readers_of_single_images_and_of_negative_scores_are_shown():
    negative = predictions([(0.1,)])
    negative[["score_own", "score_other"]] -= 1.0
    figure = plots.show_readers(pair(1), {"a": negative})
    ax = figure.axes[1]
    assert ax.get_xlim()[0] <= -0.7 and ax.patches[0].get_width() == pytest.approx(-0.6)


def test_readers_need_one_two_way_row_for_each_image():
    with pytest.raises(ValueError, match="at least one reader"):
        plots.show_readers(pair(), {})
    four_way = predictions([(0.1, 0.1)]).assign(n_options=4)
    for table in (four_way, pd.concat([predictions([(0.1, 0.1)])] * 2), predictions([(0.1,)])):
        with pytest.raises(ValueError, match="a must have one row of two options"):
            plots.show_readers(pair(), {"a": table})


def test_saliency_is_signed_and_lies_on_the_whole_image():
    values = np.array([[2.0, -1.0], [0.0, 0.5]])
    figure = plots.saliency_maps(
        [pair().images[0], None], [values, values], ["own caption", "mean"]
    )
    below, above = figure.axes[0].images
    np.testing.assert_allclose(above.get_array(), values / 2)
    assert above.get_extent() == below.get_extent() == [-0.5, 79.5, 79.5, -0.5]
    assert len(figure.axes[1].images) == 1
    positive, negative, nothing = (above.cmap(above.norm(v)) for v in (1.0, -1.0, 0.0))
    assert positive[:3] == pytest.approx(to_rgb(plots.RIGHT))
    assert negative[:3] == pytest.approx(to_rgb(plots.WRONG))
    assert positive[3] == negative[3] > 0.8 and nothing[3] == 0
    assert [ax.get_title() for ax in figure.axes[:2]] == ["own caption", "mean"]
    assert all(ax.patch.get_facecolor()[3] == 0 for ax in figure.axes)
    with pytest.raises(ValueError, match="2 images, 1 maps"):
        plots.saliency_maps(pair().images, [values])


def test_stages_share_places_across_lines_in_order_of_appearance():
    def table(*stages: str) -> pd.DataFrame:
        columns = {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}
        return pd.DataFrame(columns, index=list(stages))

    ax = plots.stage_curves(
        {"image": table("tower", "layer 1", "layer 2"), "last": table("layer 1", "layer 2")},
        "Accuracy", chance=0.5,
    )  # fmt: skip
    assert [label.get_text() for label in ax.get_xticklabels()] == ["tower", "layer 1", "layer 2"]
    assert [list(line.get_xdata()) for line in ax.lines[:2]] == [[0, 1, 2], [1, 2]]
    assert ax.lines[2].get_ydata()[0] == 0.5
    assert "chance" in texts(ax.figure) and ax.figure.patch.get_facecolor()[3] == 0
    for tables in ({}, {"a": table()}, {"a": table("x").drop(columns="accuracy_low")}):
        with pytest.raises(ValueError, match="accurac|all rows"):
            plots.stage_curves(tables, "Accuracy")


def test_a_stage_at_which_a_probe_gave_one_answer_to_all_is_hollow_and_has_no_band():
    columns = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
    table = pd.DataFrame(columns, ["first", "last"]).assign(one_class=[1.0, 0.0])
    ax = plots.stage_curves({"image": table}, "Accuracy")
    (hollow,) = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert list(hollow.get_xdata()) == [0]
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 0].min() == 1


def probes_of(n: int = 2) -> pd.DataFrame:
    columns = {"accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "shuffled": 0.51}
    index = pd.MultiIndex.from_tuples([("A", f"layer {i}") for i in range(n)])
    return pd.DataFrame(columns | {"chance": 0.5}, index=index)


def test_probes_stand_beside_their_controls():
    ax = plots.probe_bars(probes_of())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A, layer 0", "A, layer 1"]
    shown = texts(ax.figure)
    assert "shuffled labels" in shown and "chance" in shown and "95% interval" in shown
    marks = [line for line in ax.lines if line.get_marker() == "x"]
    assert list(marks[0].get_xdata()) == [0.51, 0.51]
    with pytest.raises(ValueError, match="rows"):
        plots.probe_bars(probes_of().iloc[:0])
    with pytest.raises(ValueError, match="shuffled"):
        plots.probe_bars(probes_of().drop(columns="shuffled"))


def test_a_probe_that_gave_one_answer_to_all_has_a_hollow_dot_and_no_interval():
    table = probes_of().assign(one_class=[0.0, 1.0])
    ax = plots.probe_bars(table)
    assert "one answer to all" in texts(ax.figure)
    (hollow,) = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert list(hollow.get_ydata()) == [1]
    assert "one answer to all" not in texts(plots.probe_bars(table.assign(one_class=0.5)).figure)


def test_repairs_have_a_line_for_each_set_of_pairs_and_a_ring_at_the_named_penalty():
    shares = {"relative": [0.5, 0.6, 0.7], "pair": [0.1, 0.2, 0.3], "cost": [0.0, 0.1, 0.5]}
    ends = {f"{name}_{end}": shares[name] for name in shares for end in ("low", "high")}
    table = pd.DataFrame(shares | ends).assign(named=[False, True, False])
    figure = plots.repair_curves({"A": table, "B": table.assign(cost=0.0)})
    shown = texts(figure)
    for text in ("A", "B", "chance", "Relative preference", "Pair accuracy"):
        assert text in shown
    rings = [line for line in figure.axes[1].lines if line.get_markersize() == 12]
    places = [(float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) for ring in rings]
    assert places == [(0.1, 0.2), (0.0, 0.2)]
    for tables in ({}, {"A": table.drop(columns="cost")}):
        with pytest.raises(ValueError, match="tables of repair_curve"):
            plots.repair_curves(tables)


def test_angles_have_a_line_for_each_pair_and_their_mean():
    ax = plots.angle_arcs({"left/right": np.array([80.0, 100.0]), "colour": np.array([45.0])})
    assert "left/right: mean 90°" in texts(ax.figure) and "colour: mean 45°" in texts(ax.figure)
    thick = [line for line in ax.lines if line.get_linewidth() == 2.6]
    np.testing.assert_allclose(thick[0].get_xdata(), [0, 0], atol=1e-12)
    for angles in ({}, {"a": np.array([])}, {"a": np.array([181.0])}):
        with pytest.raises(ValueError, match="at least one|between 0 and 180"):
            plots.angle_arcs(angles)


def test_the_two_dots_are_as_far_apart_as_their_cosine_says():
    ax = plots.sphere_plane(0.5)
    ends = [np.array(line.get_data_3d())[:, 1] for line in ax.lines]
    assert ends[0] @ ends[1] == pytest.approx(0.5)
    assert ends[0][0] < 0 < ends[1][0]  # on the two sides of the plane x = 0
    assert "60.0° apart" in texts(ax.figure)
    with pytest.raises(ValueError, match="between -1 and 1"):
        plots.sphere_plane(1.0)


class TestTwoClouds:
    def test_each_panel_says_how_many_pairs_are_in_order(self):
        places = np.array([[1.0, -1.0], [0.5, -0.5], [-0.2, 0.2], [2.0, -2.0]])
        figure = plots.two_clouds({"here": places, "there": -places}, "Place")
        titles = [ax.get_title() for ax in figure.axes]
        assert titles == ["here\n75% of pairs in order", "there\n25% of pairs in order"]
        assert figure.get_supxlabel() == "Place"

    def test_wrong_shapes_are_refused(self):
        with pytest.raises(ValueError, match="at least one panel"):
            plots.two_clouds({}, "Place")
        with pytest.raises(ValueError, match=r"'x' must have the shape \(N, 2\)"):
            plots.two_clouds({"x": np.zeros((3, 3))}, "Place")


def question_pair(number: int = 0):
    images = tuple(Image.new("RGB", (80, 80), (60 * k, 100, 40 * number)) for k in range(2))
    return QuestionPair(f"p{number}", "state", "Is the box open or closed?", ("open", "closed"),
                        images)  # fmt: skip


class TestQuestionPairs:
    def test_each_pair_has_its_question_and_its_answers_below_the_images(self):
        figure = plots.question_pairs([question_pair(0), question_pair(1)], ["first", "second"])
        shown = texts(figure)
        assert shown.count("Is the box open or closed?") == 2
        assert shown.count("open |") >= 2 and "first" in shown and "second" in shown
        assert len(figure.findobj(matplotlib.image.AxesImage)) == 4
        assert figure.patch.get_alpha() == 0

    def test_the_pattern_is_the_note_by_default_and_rows_may_be_incomplete(self):
        figure = plots.question_pairs([question_pair(i) for i in range(4)])
        assert texts(figure).count("state") == 4
        for pairs, notes in (([], None), ([question_pair()], ["a", "b"])):
            with pytest.raises(ValueError, match="a note for each"):
                plots.question_pairs(pairs, notes)


class TestGroupedDots:
    def summary(self) -> pd.DataFrame:
        index = pd.MultiIndex.from_product([["state", "text"], ["greedy", "VCD"]])
        values = {"pair_accuracy": [0.2, 0.4, 0.6, 0.8]}
        values |= {"pair_accuracy_low": [0.1] * 4, "pair_accuracy_high": [0.9] * 4}
        return pd.DataFrame(values, index=index)

    def test_a_row_for_each_group_and_a_colour_for_each_method(self):
        ax = plots.grouped_dots(self.summary(), "pair_accuracy", "Pair accuracy", chance=0.25)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["state", "text"]
        marks = [list(c.lines[0].get_xdata()) for c in ax.containers]
        assert marks == [[0.2, 0.6], [0.4, 0.8]]
        assert "greedy" in texts(ax.figure) and "chance" in texts(ax.figure)

    def test_differences_stand_beside_no_change(self):
        ax = plots.grouped_dots(self.summary() - 0.5, "pair_accuracy", "Points", change=True)
        assert ax.get_xlim()[0] == -1 and "no change" in texts(ax.figure)
        assert "chance" not in texts(ax.figure)
        assert "50" in [label.get_text() for label in ax.get_xticklabels()]

    def test_a_table_of_another_shape_is_refused(self):
        for table in (self.summary().droplevel(1), self.summary().iloc[:0]):
            with pytest.raises(ValueError, match="second level|rows"):
                plots.grouped_dots(table, "pair_accuracy", "x")
        with pytest.raises(ValueError, match="set_accuracy_low"):
            plots.grouped_dots(self.summary(), "set_accuracy", "x")


class TestCausalDiagram:
    def test_kinds_are_told_apart_by_line_and_colour(self):
        boxes = {"data": (0.1, 0.5, "varied"), "seed": (0.1, 0.9, "fixed"),
                 "accuracy": (0.9, 0.5, "measured")}  # fmt: skip
        figure = plots.causal_diagram(boxes, [("data", "accuracy")])
        shown = texts(figure)
        assert all(kind in shown for kind in ("varied", "fixed", "measured"))
        frames = [t.get_bbox_patch() for t in figure.axes[0].texts if t.get_text() in boxes]
        assert len({frame.get_edgecolor() for frame in frames}) == 3
        assert frames[0].get_linestyle() != frames[1].get_linestyle()

    def test_an_unknown_kind_or_box_is_named(self):
        with pytest.raises(ValueError, match="'changed', 'score'"):
            plots.causal_diagram({"data": (0, 0, "changed")}, [("data", "score")])


class TestSignalAndBias:
    def test_pairs_in_the_wedge_are_those_with_both_images_right(self):
        table = pd.DataFrame({"signal": [2.0, 1.0, -1.0, 50.0], "bias": [1.0, 2.0, 0.0, 3.0]})
        figure = plots.signal_and_bias({"plain": table}, limit=10)
        dots = [line for line in figure.axes[0].lines if line.get_marker() in "ox"]
        right, wrong = dots
        assert list(right.get_xdata()) == [2, 10]  # far ones are drawn at the edge
        assert list(wrong.get_xdata()) == [1, -1]
        with pytest.raises(ValueError, match="signal and bias"):
            plots.signal_and_bias({"plain": table.drop(columns="bias")})


class TestTokenBars:
    def test_a_panel_for_each_strength(self):
        table = pd.DataFrame({"plain": [0.7, 0.3], "combined": [0.4, 0.6]}, index=["left", "right"])
        figure = plots.token_bars({"strength 0": table, "strength 1": table})
        assert [ax.get_title() for ax in figure.axes] == ["strength 0", "strength 1"]
        widths = [bar.get_width() for bar in figure.axes[0].patches]
        assert widths == [0.7, 0.3, 0.4, 0.6]
        for panels in ({}, {"a": table, "b": table.iloc[:1]}):
            with pytest.raises(ValueError, match="same tokens"):
                plots.token_bars(panels)


def test_one_image_has_its_caption_below():
    assert "a mug" in texts(plots.show_image(Image.new("RGB", (20, 20)), "a mug"))


class TestMemoryBars:
    @pytest.fixture
    def needs(self):
        parts = {"weights": [13.0, 4.5], "cache": [2.7, 0.3]}
        return pd.DataFrame(parts, index=["float16", "4bit"])

    def test_parts_stand_end_to_end(self, needs):
        bars = plots.memory_bars(needs).containers
        assert [bar.get_label() for bar in bars] == ["weights", "cache"]
        for k, row in enumerate(needs.to_numpy()):
            assert [bar[k].get_width() for bar in bars] == pytest.approx(row)
            assert bars[1][k].get_x() == pytest.approx(row[0])

    def test_each_gpu_is_a_line_with_its_name(self, needs):
        ax = plots.memory_bars(needs, {"T4": 14.9, "L4": 22.4})
        assert [line.get_xdata()[0] for line in ax.lines] == [14.9, 22.4]
        assert [text.get_text().strip() for text in ax.texts] == ["T4", "L4"]

    def test_the_first_row_is_on_top(self, needs):
        ax = plots.memory_bars(needs)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["float16", "4bit"]
        assert ax.get_ylim()[0] > ax.get_ylim()[1]


class TestCosineScatter:
    def table(self, *clip: float) -> pd.DataFrame:
        return pd.DataFrame({"clip_cosine": clip, "vision_cosine": [0.5 * c for c in clip]})

    def test_groups_and_both_thresholds_are_shown(self):
        groups = {"random": self.table(0.1, 0.2), "state": self.table(0.97)}
        ax = plots.cosine_scatter(groups, clip_above=0.95, vision_below=0.6)
        dots = [line for line in ax.lines if line.get_linestyle() == "None"]
        assert [list(line.get_xdata()) for line in dots] == [[0.1, 0.2], [0.97]]
        assert dots[0].get_color() == plots.INK
        limits = [line for line in ax.lines if line not in dots]
        assert limits[0].get_xdata()[0] == 0.95 and limits[1].get_ydata()[0] == 0.6
        assert "state" in texts(ax.figure)

    def test_tables_without_cosines_are_refused(self):
        for groups in ({}, {"a": self.table(0.5).drop(columns="vision_cosine")}):
            with pytest.raises(ValueError, match="clip_cosine and vision_cosine"):
                plots.cosine_scatter(groups, 0.95, 0.6)
