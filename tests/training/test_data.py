"""Training scenes, and their pictures on disk."""

import numpy as np

from erragree_utils.tabletop import captions, render, scenes
from erragree_utils.training import data


def test_pictures_are_kept_and_go_on_where_they_stopped(tmp_path):
    drawn = data.TrainingScenes(seed=2, n=6)
    first = np.array(drawn.pictures(tmp_path, 8))
    (mark,) = tmp_path.glob("*.json")
    mark.write_text('{"done": 0}')  # as after a kill before the first mark
    assert (first == drawn.pictures(tmp_path, 8)).all()


def test_captions_of_a_scene_depend_on_its_number_alone():
    wording = captions.Wording.everything()
    few, many = data.TrainingScenes(2, 6), data.TrainingScenes(2, 60)
    assert [few.captions(i, 3, wording) for i in range(6)] == [
        many.captions(i, 3, wording) for i in range(6)
    ]


def test_pictures_of_contrasts_are_those_of_both_scenes(tmp_path):
    pictures = data.load_contrasts(tmp_path, seed=2, n=2, size=8)
    drawn = [scene for i in range(2) for scene in data.pattern_contrast(2, i).scenes]
    assert (pictures == render.render_many(drawn, 8)).all()


def test_twins_are_a_scene_with_left_and_right_exchanged():
    drawn = data.training_scenes(1, 0, 200, twins=1.0)
    assert all(a.place == b.place for a, b in zip(drawn[::2], drawn[1::2], strict=True))
    arranged = [k for k in range(0, 200, 2) if drawn[k].relation in captions.SIDEWAYS]
    assert len(arranged) > 15
    assert all(drawn[k + 1] == scenes.opposite(drawn[k]) for k in arranged)


def test_near_duplicates_differ_in_one_respect():
    drawn = [scene for i in range(20) for scene in data.near_duplicates(0, i)]
    assert len(drawn) == 40
    for a, b in zip(drawn[::4], drawn[1::4], strict=True):  # even ones: opposite relations
        assert (a.place, a.light, a.view) == (b.place, b.light, b.view)
        assert a.relation != b.relation and a.relation is not None
        assert [t.name for t in a.things] == [t.name for t in b.things]
    first, second = render.render_many(drawn[:2], 40).astype(int)
    assert np.abs(first - second).max() > 40
