"""The ablations as data."""

from dataclasses import asdict
from itertools import product

import pytest

from erragree_utils.paper import published
from erragree_utils.training.ablations import experiments, train


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_an_experiment_differs_from_its_base_in_one_setting(name):
    found = experiments.EXPERIMENTS[name]
    if found.base is None:
        assert name in experiments.ROOTS
        return
    mine, base = (asdict(experiments.experiment(n).settings(7)) for n in (name, found.base))
    assert [key for key in mine if mine[key] != base[key]] == [found.factor]


def test_all_experiments_of_one_root_share_seeds_and_data():
    fixed = ("seed", "scenes", "captions", "places_per_batch", "image_size", "warmup", "n_sets")
    for found in experiments.EXPERIMENTS.values():
        root = found
        while root.base:
            root = experiments.EXPERIMENTS[root.base]
        mine, its = found.settings(3), root.settings(3)
        assert all(getattr(mine, key) == getattr(its, key) for key in fixed)


def test_every_experiment_belongs_to_a_family_and_stands_beside_its_base():
    names = {name for family in experiments.FAMILIES.values() for name in family}
    assert names == set(experiments.EXPERIMENTS)
    for family in experiments.FAMILIES.values():
        assert len(set(family)) == len(family)
        assert experiments.EXPERIMENTS[family[0]].base is None


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no experiment 'CLAP'.*hard negatives"):
        train.run_one("CLAP", 0, None)


def test_counterparts_are_models_of_the_paper_and_experiments_of_ours():
    readers, ours = zip(*experiments.COUNTERPARTS.values(), strict=True)
    assert set(ours) <= set(experiments.EXPERIMENTS)
    for reader, benchmark in product(readers, ("whatsup-a", "whatsup-b")):
        known = {"benchmark": benchmark, "relation": "left/right", "kind": "pair", "version": "v3"}
        assert published(reader=reader, **known).grade == "S"
