"""Which tokens of a tree attend to which."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, MistralConfig, Qwen2Config

from erragree_utils.models.masks import added, window_of

# Two rows of which three tokens were read, the first of them padding in the second row; then a tree
# of one token and two that follow it.
MASK = torch.tensor([[1, 1, 1], [0, 1, 1]])
OWN = torch.tensor([[[1, 0, 0], [1, 1, 0], [1, 0, 1]]] * 2).bool()
PLACES = torch.tensor([[3, 4, 4], [2, 3, 3]])


def attended(config, layers: str | None = None) -> list[list[list[int]]]:
    """Of each row, the places that each token of the tree attends to."""
    found = added(config, MASK, OWN, PLACES, torch.float32)
    found = found if layers is None else found[layers]
    assert found.shape == (2, 1, 3, 6)
    assert set(found.unique().tolist()) == {0.0, torch.finfo(torch.float32).min}
    return [[torch.where(token == 0)[0].tolist() for token in row[0]] for row in found]


class TestWithoutAWindow:
    def test_a_token_attends_to_all_that_was_read_and_to_its_own_branch(self):
        whole, padded = attended(LlamaConfig())
        assert whole == [[0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 2, 3, 5]]
        assert padded == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 5]]


class TestWithAWindow:
    def test_it_counts_tokens_of_the_branch_and_not_places_in_the_row(self):
        whole, padded = attended(MistralConfig(sliding_window=2))
        # The two that follow stand side by side, and both are next to the first.
        assert whole == padded == [[2, 3], [3, 4], [3, 5]]

    def test_layers_of_both_kinds_get_one_mask_each(self):
        kinds = ["sliding_attention", "full_attention"]
        config = Qwen2Config(
            num_hidden_layers=2, layer_types=kinds, use_sliding_window=True, sliding_window=2
        )
        assert attended(config, "sliding_attention")[0] == [[2, 3], [3, 4], [3, 5]]
        assert attended(config, "full_attention") == attended(LlamaConfig())


def test_a_window_is_one_that_some_layer_has():
    assert window_of(MistralConfig(sliding_window=7)) == 7
    assert window_of(LlamaConfig()) is window_of(MistralConfig(sliding_window=None)) is None
    full = Qwen2Config(num_hidden_layers=1, layer_types=["full_attention"], sliding_window=7)
    assert window_of(full) is None
