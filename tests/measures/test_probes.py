"""Probes on planted examples, whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.preprocessing import StandardScaler

from erragree_utils.measures import probes

GROUPS, PER_GROUP = 20, 6


def planted(strength: float = 0.02, seed: int = 0):
    """Embeddings that are 0.99 alike within a group; the side is in one direction of little spread.

    Each group has one large vector of its own (its objects), and images alternate between two
    sides.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(GROUPS), PER_GROUP)
    sides = np.tile([0, 1], GROUPS * PER_GROUP // 2)
    x = np.hstack([np.zeros((len(groups), 1)), rng.normal(size=(GROUPS, 30))[groups] / 30**0.5])
    x[:, 0] = strength * (2 * sides - 1) + 0.1 * strength * rng.normal(size=len(x))
    x[:, 1:] += 0.01 * rng.normal(size=(len(x), 30))
    return x, np.array(["left", "right"])[sides], groups


def of_objects():
    """Labels that belong to the objects and that nothing else tells: to be learnt by heart only."""
    x, _, groups = planted()
    labels = np.random.default_rng(1).permutation(np.arange(GROUPS) % 2)
    return x, labels[groups], groups


class TestProbe:
    def test_a_direction_of_little_variance_is_found(self):
        x, sides, groups = planted()
        first, second = x[0], x[1]
        assert first @ second / np.linalg.norm(first) / np.linalg.norm(second) > 0.99
        assert x[:, 0].var() < 0.001 * x.var(axis=0).sum()
        row = probes.probe(x, sides, groups)
        assert row["accuracy"] == 1.0
        assert row["accuracy_low"] > 0.8
        assert row["chance"] == 0.5

    def test_without_it_the_probe_is_at_chance(self):
        x, sides, groups = planted()
        row = probes.probe(x[:, 1:], sides, groups)
        assert row["accuracy_low"] <= 0.5 <= row["accuracy_high"]

    def test_the_shuffled_control_is_at_chance_where_the_probe_is_not(self):
        row = probes.probe(*planted(), shuffles=5)
        assert abs(row["shuffled"] - 0.5) < 0.1

    def test_the_control_shuffles_within_groups(self):
        x, labels, groups = of_objects()  # alike within each group, they stay what they are
        row = probes.probe(x, labels, groups)
        assert row["shuffled"] == row["accuracy"]

    def test_the_interval_is_that_of_groups_not_of_examples(self):
        row = probes.probe(*of_objects(), shuffles=0)  # a group is right or wrong as a whole
        p = row["accuracy"]
        of_groups, of_examples = (2 * 1.96 * (p * (1 - p) / n) ** 0.5 for n in (20, 120))
        assert row["accuracy_high"] - row["accuracy_low"] > (of_groups + of_examples) / 2

    def test_grouped_folds_prevent_a_leak_that_ungrouped_ones_show(self):
        x, labels, groups = of_objects()
        assert probes.probe(x, labels, np.arange(len(x)), shuffles=0)["accuracy"] > 0.95
        grouped = probes.probe(x, labels, groups, shuffles=0)
        assert grouped["accuracy_low"] <= 0.5

    def test_the_table_tells_folds_examples_and_parameters(self):
        x, sides, groups = planted()
        row = probes.probe(x, sides, groups, shuffles=0)
        assert [name for name in row.index if name.startswith("fold")] == [
            "fold 1", "fold 2", "fold 3", "fold 4", "fold 5"
        ]  # fmt: skip
        assert row["n_examples"] == 120 and row["n_groups"] == GROUPS
        assert row["n_parameters"] == 31 + 1
        assert np.isnan(row["shuffled"])
        curved = probes.probe(x, sides, groups, kind="gaussian", shuffles=0)
        assert curved["n_parameters"] == 96 + 1  # a weight for each training example

    def test_it_repeats(self):
        assert probes.probe(*planted()).equals(probes.probe(*planted()))

    def test_a_nonlinear_rule_is_read_by_the_nonlinear_probe_alone(self):
        rng = np.random.default_rng(0)
        x, groups = rng.choice([-1.0, 1.0], (400, 2)), np.repeat(np.arange(20), 20)
        labels = x[:, 0] * x[:, 1] > 0
        x += 0.1 * rng.normal(size=x.shape)
        assert probes.probe(x, labels, groups, shuffles=0)["accuracy"] < 0.7
        assert probes.probe(x, labels, groups, kind="gaussian", shuffles=0)["accuracy"] > 0.9

    def test_constant_features_say_nothing(self):
        _, sides, groups = planted()
        row = probes.probe(np.full((len(sides), 5), 0.1), sides, groups, shuffles=0)
        assert row["accuracy"] == pytest.approx(0.5, abs=0.2)

    def test_a_classifier_that_gives_one_answer_to_all_is_told(self):
        _, sides, groups = planted()
        constant = np.full((len(sides), 5), 0.1)
        assert probes.probe(constant, sides, groups, shuffles=0)["one_class"] == 1
        assert probes.probe(*planted(), shuffles=0)["one_class"] == 0

    def test_it_agrees_with_plain_scikit_learn(self):
        rng = np.random.default_rng(0)
        x, groups = rng.normal(size=(400, 40)), np.repeat(np.arange(40), 10)
        y = x[:, 0] + 2 * rng.normal(size=400) > 0
        right = []
        for train, test in GroupKFold(5).split(x, y, groups):
            scaler = StandardScaler().fit(x[train])
            inputs = scaler.transform(x[train]) / 40**0.5
            plain = GridSearchCV(
                LogisticRegression(tol=1e-8, max_iter=5000), {"C": probes.STRENGTHS},
                scoring="neg_log_loss", cv=GroupKFold(5),
            ).fit(inputs, y[train], groups=groups[train])  # fmt: skip
            said = plain.predict(scaler.transform(x[test]) / 40**0.5)
            right.append((said == y[test]).mean())
        ours = probes.probe(x, y, groups, shuffles=0)["accuracy"]
        assert ours == pytest.approx(np.mean(right), abs=0.02)

    def test_noise_in_the_last_digits_moves_nothing_visible(self):
        rng = np.random.default_rng(0)
        x, groups = rng.normal(size=(300, 40)), np.repeat(np.arange(30), 10)
        y = x[:, 0] + 3 * rng.normal(size=300) > 0
        noisy = x * (1 + 1e-6 * rng.normal(size=x.shape))
        one, two = (probes.probe(a, y, groups)["accuracy"] for a in (x, noisy))
        assert abs(one - two) <= 1 / 300

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"labels": [0] * 120}, "two values"),
            ({"labels": [0, 1]}, "120 rows of features and 2 labels"),
            ({"groups": [0, 1] * 60}, "120 of 2 groups"),
            ({"features": np.full((120, 2), np.nan)}, "NaN"),
            ({"condition": np.ones((3, 2))}, r"\(120, Q\)"),
            ({"kind": "tree"}, "unknown kind 'tree'"),
        ],
    )
    def test_what_cannot_be_probed(self, change, message):
        x, sides, groups = planted()
        with pytest.raises(ValueError, match=message):
            probes.probe(**({"features": x, "labels": sides, "groups": groups} | change))


class TestCondition:
    """What is left of what: the side of the object that is asked about."""

    def scenes(self):
        """Two of eight objects, in random places; features are what stands left and right."""
        rng = np.random.default_rng(0)
        pairs = np.array([rng.choice(8, 2, replace=False) for _ in range(400)])
        objects = np.eye(8)
        features = np.hstack([objects[pairs[:, 0]], objects[pairs[:, 1]]])
        flip = rng.integers(0, 2, 400).astype(bool)
        named, other = np.where(flip, pairs[:, ::-1].T, pairs.T)
        groups = ["-".join(map(str, sorted(pair))) for pair in pairs]
        return features, np.where(flip, "right", "left"), groups, objects[named] - objects[other]

    def test_it_is_read_when_the_probe_is_told_which_object_is_meant(self):
        features, sides, groups, asked = self.scenes()
        told = probes.probe(features, sides, groups, condition=asked, shuffles=0)
        blind = probes.probe(features, sides, groups, shuffles=0)
        assert told["accuracy"] > 0.97
        assert blind["accuracy"] < 0.65
        assert told["n_parameters"] == 16 * 8 + 1


def test_a_table_has_a_row_for_each_representation():
    x, sides, groups = planted()
    table = probes.probe_table({"all": x, "none": x[:, 1:]}, sides, groups, shuffles=0)
    assert table.index.tolist() == ["all", "none"]
    assert table.loc["all", "accuracy"] > table.loc["none", "accuracy"]
    assert table["n_parameters"].tolist() == [32, 31]
    assert table["n_parameters"].dtype == int and table["accuracy"].dtype == float


class TestLearningCurve:
    def test_more_examples_read_more(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(400, 20))
        y, groups = x[:, 0] + x[:, 1] > 0, np.repeat(np.arange(20), 20)
        units = np.repeat(np.arange(200), 2)
        table = probes.learning_curve(x, y, groups, units, [20, 300])
        assert list(table.columns) == ["accuracy", "accuracy_low", "accuracy_high", "one_class"]
        assert table["one_class"].iloc[0] > table["one_class"].iloc[1] == 0  # of few, no rule
        assert table["accuracy"].iloc[1] > table["accuracy"].iloc[0] + 0.05
        assert table.index.tolist() == [20, 300]

    def test_it_ends_with_all_that_the_training_folds_have(self):
        x, sides, groups = planted()
        table = probes.learning_curve(x, sides, groups, groups, [10_000])
        assert table.index.tolist() == [96]
        whole = probes.probe(x, sides, groups, shuffles=0)
        assert table["accuracy"].iloc[0] == whole["accuracy"]

    def test_sizes_that_hold_too_little_are_refused(self):
        x, sides, groups = planted()
        with pytest.raises(ValueError, match="6 training examples hold"):
            probes.learning_curve(x, sides, groups, groups, [2])
        with pytest.raises(ValueError, match="each of 120 examples"):
            probes.learning_curve(x, sides, groups, [1, 2, 3], [20])
