"""Beginnings that rows of tokens share, and the tree that they make."""

from __future__ import annotations

import numpy as np

from erragree_utils.models.branches import Branch, attended, common_start, grown, shared_start


class TestBeginnings:
    def test_the_common_beginning_of_two_rows(self):
        assert common_start([1, 2, 3], [1, 2, 4, 5]) == 2
        assert common_start([1, 2], [1, 2, 3]) == 2
        assert common_start([], [1]) == common_start([2], [1]) == 0

    def test_the_token_that_predicts_the_first_answer_is_never_shared(self):
        short, long = Branch((1, 2, 3, 4), 3), Branch((1, 2, 3, 5, 6), 3)
        assert shared_start([short]) == shared_start([short, long]) == 2
        assert shared_start([short, Branch((1, 9, 3, 4), 3)]) == 1
        assert shared_start([long, Branch((1, 2), 1)]) == 0 and shared_start([]) == 0


class TestTrees:
    BRANCHES = [Branch((5, 6, 7, 0), 3), Branch((5, 6, 8, 9, 0), 3), Branch((5, 6, 7, 1), 3)]

    def test_equal_beginnings_are_there_once_and_equal_rests_too(self):
        assert grown(self.BRANCHES) == ([5, 6, 7, 8, 9], [[0, 1, 2], [0, 1, 3, 4], [0, 1, 2]])
        assert grown(self.BRANCHES, 2) == ([7, 8, 9], [[0], [1, 2], [0]])
        assert grown([]) == ([], [])

    def test_equal_tokens_behind_different_ones_are_two(self):
        assert grown([Branch((1, 3, 0), 2), Branch((2, 3, 0), 2)])[0] == [1, 3, 2, 3]

    def test_a_token_attends_to_those_before_it_in_its_branch_alone(self):
        seen, depths = attended([grown(self.BRANCHES)[1], []], 6)
        assert seen.shape == (2, 6, 6) and depths[0].tolist() == [0, 1, 2, 2, 3, 0]
        before = [np.flatnonzero(row).tolist() for row in seen[0]]
        assert before == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [5]]
        # What only fills up attends to itself: attention to nothing is no number.
        assert (seen[1] == np.eye(6, dtype=bool)).all()
