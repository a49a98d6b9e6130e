"""Learning curves of the organisms: embeddings drawn once, and more pairs read more."""

import numpy as np
import pandas as pd
import pytest

from erragree_utils.training import curves


def test_the_leading_directions_keep_what_varies_most():
    rng = np.random.default_rng(0)
    condition = rng.normal(size=(50, 6)) * [9, 0.1, 7, 0.1, 0.1, 8]
    kept = curves.leading(condition, 3)
    assert kept.shape == (50, 3)
    assert (kept**2).sum() == pytest.approx((condition**2).sum(), rel=1e-2)


@pytest.mark.parametrize("name", ["tabletop-a", "tabletop-b"])
def test_a_planted_side_is_read_the_better_the_more_pairs_there_are(name):
    rng = np.random.default_rng(0)
    side = np.tile([1.0, -1.0], 300)
    asked = np.ones((600, 10)) if name == "tabletop-a" else rng.normal(size=(600, 10))
    x = rng.normal(size=(600, 12))
    x[:, 0] += 1.2 * side * asked[:, 0]
    part = {
        "lost": x, "lost asked": asked, "side": np.where(side > 0, "left", "right"),
        "group": np.arange(600).astype(str)[np.arange(600) // 20],
    }  # fmt: skip
    table = curves.curve(name, "lost", [part], (30, 240))
    one = table[table["probe"] == "one image"].set_index("pairs")["accuracy"]
    assert one.index.tolist() == [30, 240] and one[240] > max(one[30], 0.65)
    assert set(table["probe"]) == {"one image", "two compared"}


def test_the_table_is_written_and_embeddings_are_kept(tmp_path, monkeypatch):
    command = ["--sets", "30", "--pairs", "12", "24", "--run", str(tmp_path), "--out"]
    curves.main([*command, str(tmp_path / "first")])
    table = pd.read_csv(tmp_path / "first" / "curves.csv")
    assert set(table["organism"]) == {"hidden", "lost", "aligned"}
    assert table.groupby(["organism", "benchmark", "probe"]).size().unique().tolist() == [2]
    assert table["accuracy"].between(table["accuracy_low"], table["accuracy_high"]).all()
    monkeypatch.setattr(curves, "load_tabletop", None)  # what is kept is not drawn again
    curves.main([*command, str(tmp_path / "second")])
    assert pd.read_csv(tmp_path / "second" / "curves.csv").equals(table)
