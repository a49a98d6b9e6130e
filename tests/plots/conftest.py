"""What tests of pictures share: predictions, a pair, and the texts of a figure."""

from __future__ import annotations

import matplotlib
import pandas as pd
import pytest
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from erragree_utils.benchmarks import ImagePair


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def margins() -> list[tuple[float, float]]:
    """Of the two images of five pairs."""
    return [(0.02, 0.01), (0.03, -0.02), (-0.01, 0.01), (-0.01, 0.02), (-0.02, -0.01)]


@pytest.fixture
def predictions():
    """Makes the table of predictions from the margins of pairs."""

    def table(margins, relation="left/right") -> pd.DataFrame:
        rows = [
            (f"p{i}", f"s{i}", relation, k, 2, 0.3 + margin, 0.3, margin > 0)
            for i, both in enumerate(margins)
            for k, margin in enumerate(both)
        ]
        names = ["pair_id", "set_id", "relation", "image_index", "n_options"]
        names += ["score_own", "score_other", "correct"]
        return pd.DataFrame(rows, columns=names).assign(model="m", method="matching")

    return table


@pytest.fixture
def pair():
    """Makes a pair of one or two images."""

    def images(n: int = 2) -> ImagePair:
        sources = tuple(Image.new("RGB", (80, 80), (60 * i, 100, 0)) for i in range(n))
        captions = ("A red mug to the left of a very wide table", "A red mug to the right of it")
        return ImagePair("p0", "s0", "left/right", captions, sources)

    return images


@pytest.fixture
def texts():
    """Reads all texts of a figure."""
    return lambda figure: " | ".join(
        text.get_text() for text in figure.findobj(matplotlib.text.Text)
    )
