"""The guard at load time: a shared prompt has to give a full pass's scores."""

from __future__ import annotations

import pytest
from transformers import DynamicCache

from erragree_utils.models.folders import ModelError
from erragree_utils.models.sharing import check_sharing
from tests.models.families import FAMILIES, build


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_models_pass(family):
    check_sharing(build(family).engine)


def test_positions_of_another_kind_are_found_out(monkeypatch):
    mllm = build("qwen2_5_vl")
    monkeypatch.setattr(type(mllm.engine), "rotates", False)
    with pytest.raises(ModelError, match="qwen2_5_vl is not read correctly: .* deviations"):
        check_sharing(mllm.engine)


def test_and_so_is_attention_that_the_cache_does_not_see():
    mllm = build("llava")
    forward = mllm.model.forward

    def forgetful(*args, **kwargs):
        """As if a class had another name for keys and values."""
        name = mllm.engine.cache_name
        if kwargs.get(name) is not None and kwargs[name].get_seq_length():
            kwargs[name] = DynamicCache()
            kwargs["attention_mask"] = None
        return forward(*args, **kwargs)

    mllm.model.forward = forgetful
    with pytest.raises(ModelError, match="llava is not read correctly"):
        check_sharing(mllm.engine)


def test_where_nothing_can_be_asked_nothing_is_compared():
    mllm = build("llava")
    mllm.processor.chat_template = None
    mllm.model.forward = None  # it isn't read
    check_sharing(mllm.engine)
