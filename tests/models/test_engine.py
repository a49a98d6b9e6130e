"""The engine against plain forward passes: one prompt at a time, no cache, nothing shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DynamicCache

from erragree_utils.models import EncodeError
from erragree_utils.models.tokens import Stream

# Questions that begin alike and differently, answers of one token and of many.
BRANCHES = [
    ("Where is the red mug?", "left"),
    ("Where is the red mug?", "right"),
    ("Where is the red mug?", "in front of the blue table"),
    ("Where is the green stool in relation to the table?", "left"),
    ('Does this figure show "A red mug on a blue table"? Please answer yes or no.', "Yes"),
]


def noise(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    pixels = (rng.integers(0, 255, (4, 4, 3), dtype=np.uint8) for _ in range(n))
    return [Image.fromarray(x).resize((50 + 5 * i, 60)) for i, x in enumerate(pixels)]


def pictured(entry) -> list[Image.Image]:
    return [] if entry is None else entry if isinstance(entry, list) else [entry]


@torch.no_grad()
def plain(mllm, entry, question: str, answer: str) -> torch.Tensor:
    """Logits (T, V) that predict the tokens of an answer."""
    images = pictured(entry)
    prompt = mllm.prompt(question, len(images))
    asked, whole = (
        mllm.processor(images=images or None, text=text, return_tensors="pt")
        for text in (prompt, f"{prompt} {answer}")
    )
    start = asked["input_ids"].shape[1]
    return mllm.model(**whole, use_cache=False).logits[0, start - 1 : -1]


def told(mllm, streams, rows) -> dict:
    """By entry and branch: the logits of each stream, and the answer's tokens."""
    with torch.inference_mode():
        found = list(mllm.engine.answers(streams, rows, 0))
    assert len(found) == len({(row, branch) for row, branch, *_ in found})
    return {(row, branch): (logits, tokens) for row, branch, logits, tokens in found}


def heads(mllm, entries) -> Stream:
    return mllm.engine.heads([(entry,) for entry in entries], 0)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


@pytest.fixture
def entries() -> list:
    a, b, c, d = noise(4)
    return [a, [b, c], None, d, a, None]


ROWS = [BRANCHES, BRANCHES[1:3], BRANCHES[::-1], [], BRANCHES[2:3], BRANCHES[:2]]


class TestAnswers:
    def test_all_are_those_of_plain_passes_whatever_shares_the_batch(self, tiny, entries):
        found = told(tiny, [heads(tiny, entries)], ROWS)
        assert set(found) == {(i, k) for i, row in enumerate(ROWS) for k in range(len(row))}
        for (i, k), ((logits,), tokens) in found.items():
            expected = plain(tiny, entries[i], *ROWS[i][k])
            assert len(logits) == len(tokens) == len(expected)
            assert_same(logits, expected)

    def test_each_is_what_it_is_alone(self, tiny, entries):
        together = told(tiny, [heads(tiny, entries)], ROWS)
        for (i, k), ((logits,), _) in together.items():
            one = told(tiny, [heads(tiny, entries[i : i + 1])], [[ROWS[i][k]]])
            assert_same(logits, one[0, 0][0][0])

    def test_the_tokens_are_those_of_the_answer_after_a_space(self, tiny):
        found = told(tiny, [heads(tiny, noise(1))], [BRANCHES])
        for (_, k), (_, tokens) in found.items():
            own = tiny.processor.tokenizer(" " + BRANCHES[k][1], add_special_tokens=False)
            assert tokens.tolist() == own["input_ids"]

    def test_of_two_streams_each_has_its_own_images(self, tiny, entries):
        first = heads(tiny, entries)
        other = [entries[4], [entries[3], entries[1][1]], None, entries[1][0], entries[0], None]
        found = told(tiny, [first, replace(first, seen=first.seen[::-1])], ROWS)
        for (i, k), ((mine, second), _) in found.items():
            assert_same(mine, plain(tiny, entries[i], *ROWS[i][k]))
            assert_same(second, plain(tiny, other[i], *ROWS[i][k]))

    def test_or_none(self, tiny, entries):
        first = heads(tiny, entries)
        found = told(tiny, [first, first.without_images()], ROWS)
        for (i, k), ((mine, second), _) in found.items():
            assert_same(mine, plain(tiny, entries[i], *ROWS[i][k]))
            assert_same(second, plain(tiny, None, *ROWS[i][k]))

    def test_images_may_have_different_numbers_of_tokens(self, tiny_next):
        shown = [image.resize((30 + 60 * i, 50)) for i, image in enumerate(noise(3))]
        shown.append(None)
        first = heads(tiny_next, shown)
        assert len({len(row) for row in first.rows}) > 2
        for streams in ([first], [first, first.without_images()]):
            found = told(tiny_next, streams, [BRANCHES] * 4)
            for (i, k), (logits, _) in found.items():
                for mine, entry in zip(logits, (shown[i], None), strict=False):
                    assert_same(mine, plain(tiny_next, entry, *BRANCHES[k]))
        together = tiny_next.generate(shown, "What colour is the mug?", max_new_tokens=4)
        for entry, answer in zip(shown, together, strict=True):
            assert tiny_next.generate([entry], "What colour is the mug?", 4) == [answer]

    def test_nothing_asked_is_nothing_read(self, tiny, entries):
        assert told(tiny, [heads(tiny, entries)], [[]] * len(entries)) == {}


class TestSharing:
    """What is the same is read once."""

    @pytest.fixture
    def read(self, tiny):
        """Shapes (rows, tokens) of what goes through the language model."""
        shapes = []
        layer = tiny.model.model.language_model.layers[0].mlp
        hook = layer.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[:2])))
        yield shapes
        hook.remove()

    def test_an_image_is_encoded_once_for_all_questions(self, tiny):
        seen, tower = [], tiny.model.model.vision_tower
        hook = tower.register_forward_hook(lambda *call: seen.append(len(call[2][0])))
        try:
            tiny.answer_logprobs(noise(5), [BRANCHES] * 5, batch_size=2)
        finally:
            hook.remove()
        assert seen == [2, 2, 1]

    def test_it_is_in_the_same_batch_too_while_it_is_remembered(self, tiny):
        seen, tower = [], tiny.model.model.vision_tower
        a, b, c, _ = noise(4)
        expected = tiny.option_logprobs([a, b, a, c], "Where?", ["left", "right"])
        hook = tower.register_forward_hook(lambda *call: seen.append(len(call[2][0])))
        try:
            with tiny.engine.remembering():
                for _ in (1, 2):
                    found = tiny.option_logprobs([a, b, a.copy(), c], "Where?", ["left", "right"])
                    np.testing.assert_allclose(found, expected, atol=1e-5)
                tiny.generate([c, b], "Why?", max_new_tokens=2)
            assert seen == [3]
            tiny.generate([c, b], "Why?", max_new_tokens=2)
            assert seen == [3, 2]
        finally:
            hook.remove()

    def test_an_image_that_was_drawn_on_is_another_one(self, tiny):
        image = noise(1)[0]
        with tiny.engine.remembering():
            before = tiny.option_logprobs([image], "Where?", ["left"])
            image.paste("red", (0, 0, 30, 30))
            after = tiny.option_logprobs([image], "Where?", ["left"])
        assert abs(before[0] - after[0]) > 1e-3
        np.testing.assert_allclose(
            after, tiny.option_logprobs([image], "Where?", ["left"]), atol=1e-5
        )

    def test_what_all_branches_begin_with_is_read_once_and_then_only_what_differs(self, tiny, read):
        tiny.option_logprobs(noise(3), "Where is the red mug?", ["to the left", "to the right"])
        question = tiny.engine.tokens([tiny.prompt("Where is the red mug?")]).popitem()[1]
        start = question.index(tiny.processor.image_token_id)
        images, tree = read
        assert images == (3, start + 16)  # tokens for the image's one
        # What follows the image, and both options but for their last word.
        assert tree == (3, len(question) - 1 - start + len(["to", "the"]))

    def test_prompts_of_one_length_are_read_without_a_mask(self, tiny, monkeypatch):
        masks, forward = [], tiny.engine.forward
        monkeypatch.setattr(
            tiny.engine, "forward",
            lambda ids, mask, *more, **kw: masks.append(mask) or forward(ids, mask, *more, **kw),
        )  # fmt: skip
        tiny.option_logprobs(noise(3), "Where is the red mug?", ["left", "right"])
        assert masks[0] is None and len(masks) == 2
        tiny.option_logprobs([*noise(1), None], "Where is the red mug?", ["left", "right"])
        assert masks[2] is not None

    def test_all_branches_go_through_as_one_tree(self, tiny, read):
        rows = [BRANCHES, BRANCHES[:1], BRANCHES[:3]]
        tiny.answer_logprobs(noise(3), rows)
        assert len(read) == 2 and read[-1][0] == 3
        (asked,) = tiny.engine.branches([BRANCHES], [1], 0)
        beginnings = {b.inputs[:k] for b in asked for k in range(1, len(b.inputs) + 1)}
        assert read[-1][1] == len(beginnings) < sum(len(b.inputs) for b in asked)

    def test_what_prompts_without_an_image_begin_with_is_read_once(self, tiny, read, entries):
        first = heads(tiny, entries[:1] * 4)
        told(tiny, [first, first.without_images()], [BRANCHES[:1]] * 4)
        assert [shape[0] for shape in read] == [4, 1, 8]
        assert read[-1][1] < 12  # of which the question is the longest

    def test_layers_that_nobody_reads_are_spared_and_back_in_their_place(self, tiny):
        ran, model = [], tiny.model.model
        watched = [*model.vision_tower.encoder.layers, *model.language_model.layers]
        before = [layer.mlp for layer in watched]
        hooks = [
            mlp.register_forward_hook(lambda *call, k=k: ran.append(k))
            for k, mlp in enumerate(before)
        ]
        try:
            with torch.inference_mode():
                tiny.engine.prefill([heads(tiny, noise(1))])
        finally:
            for hook in hooks:
                hook.remove()
        # Of the tower the first layer of two, as LLaVA reads the last but one; and of the reader.
        assert ran == [0, 2]
        assert [layer.mlp for layer in watched] == before

    def test_each_different_text_is_tokenized_once(self, tiny, monkeypatch):
        texts, tokens = [], tiny.engine.tokens
        monkeypatch.setattr(
            tiny.engine, "tokens", lambda some: tokens(texts.extend(dict.fromkeys(some)) or texts)
        )
        tiny.engine.branches([BRANCHES[:2]] * 50, [1] * 50, 0)
        assert len(texts) == 3  # a prompt, and it with either answer


class TestPositions:
    @pytest.mark.parametrize("padding", [0, 1, 7])
    def test_a_row_means_the_same_however_far_it_is_padded(self, tiny, padding):
        """On the left as prompts are, then on the right as what follows them is."""
        engine = tiny.engine
        (ids,) = engine.tokens([tiny.prompt("Where is the red mug?", 0)]).values()
        begun, rest = ids[:-4], ids[-4:]
        with torch.inference_mode():
            expected = tiny.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -4:]
            cache = DynamicCache()
            rows, mask = engine.padded([begun, [5] * (len(begun) + padding)], left=True)
            assert mask[0].sum() == len(begun) and mask.shape[1] == len(begun) + padding
            engine.forward(rows, mask, cache)
            more, fresh = engine.padded([rest, [5] * (4 + padding)], left=False)
            found = engine.forward(more, torch.cat([mask, fresh], dim=1), cache)[0, :4]
        assert_same(found, expected)

    def test_positions_count_the_real_tokens_of_a_row_from_0(self, tiny):
        given = []
        hook = tiny.model.model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: given.append(kwargs["position_ids"].tolist()),
            with_kwargs=True,
        )
        try:
            ids, mask = tiny.engine.padded([[5, 6, 7], [8]], left=True)
            with torch.inference_mode():
                tiny.engine.forward(ids, mask, cache := DynamicCache())
                more, fresh = tiny.engine.padded([[6], [7, 9]], left=False)
                tiny.engine.forward(more, torch.cat([mask, fresh], dim=1), cache)
        finally:
            hook.remove()
        assert given[0][0] == [0, 1, 2] and given[0][1][-1] == 0
        assert given[1][0][0] == 3 and given[1][1] == [1, 2]

    def test_streams_of_different_lengths_share_a_cache(self, tiny):
        engine = tiny.engine
        texts = ["Why?", "Where is the red mug in relation to the blue table?"]
        rows = [engine.tokens([tiny.prompt(text, 0)]).popitem()[1] for text in texts]
        for order in (rows, rows[::-1]):
            with torch.inference_mode():
                cache, mask, *_ = engine.prefill([Stream([row[:-1]], [0]) for row in order])
                last = torch.tensor([row[-1:] for row in order])
                full = torch.cat([mask, torch.ones_like(last)], dim=1)
                found = engine.forward(last, full, cache)[:, -1]
                for mine, row in zip(found, order, strict=True):
                    ids = torch.tensor([row])
                    assert_same(mine, tiny.model(input_ids=ids, use_cache=False).logits[0, -1])

    def test_rows_are_filled_up_on_one_side(self, tiny):
        ids, mask = tiny.engine.padded([[7, 8], [], [9]], left=True)
        pad = tiny.engine.pad_id
        assert ids.tolist() == [[7, 8], [pad, pad], [pad, 9]]
        assert mask.tolist() == [[1, 1], [0, 0], [0, 1]]
        assert tiny.engine.padded([[7, 8], [9]], left=False)[1].tolist() == [[1, 1], [1, 0]]
        assert tiny.engine.padded([[], []], left=True)[0].shape == (2, 1)


class TestWhatIsTooLong:
    def test_an_entry_is_named_by_its_place_in_the_call(self, tiny):
        long = "in front of " * 90
        images = [*noise(3), *noise(1) * 2]
        rows = [BRANCHES[:1]] * 3 + [[("Where is it?", long)], BRANCHES[:1]]
        with pytest.raises(EncodeError, match="entry 3 has 293 .*tiny reads 256") as error:
            tiny.answer_logprobs(images, rows, batch_size=2)
        assert error.value.index == 3

    def test_one_token_more_than_the_model_reads_is_refused(self, tiny):
        question = BRANCHES[0][0]
        (ids,) = tiny.engine.tokens([tiny.prompt(question, 0)]).values()
        with pytest.raises(EncodeError, match="entry 0 has 257 .*tiny reads 256"):
            tiny.generate([None], question, max_new_tokens=257 - len(ids))

    def test_what_is_to_be_written_counts_too(self, tiny):
        asked = ["Is it red?", "Is it a red mug?"]
        ((_, ids),) = tiny.engine.tokens([tiny.prompt(asked[0], 0)]).items()
        room = 256 - len(ids)
        assert len(tiny.generate([None], asked[:1], max_new_tokens=room)) == 1
        with pytest.raises(EncodeError, match="entry 1 has 258 .*shorten it, or show fewer images"):
            tiny.generate([None, None], asked, max_new_tokens=room)


class TestUnknownWords:
    """A word-level tokenizer reads them all alike."""

    def test_questions_that_hold_some_are_told_once_a_call(self, tiny):
        told = "words tiny does not know: 2 questions, such as 'Where is the zeppelin"
        asked = [
            "Where is the zeppelin?",
            "Where is the mug?",
            "A zeppelin?",
            "Where is the zeppelin?",
        ]
        with pytest.warns(UserWarning, match=told) as warned:
            tiny.generate([None] * 4, asked, max_new_tokens=1, batch_size=1)
        assert len(warned) == 1
        with pytest.warns(UserWarning, match=told):
            tiny.answer_logprobs([None] * 4, [[(text, "left")] for text in asked])

    @pytest.mark.filterwarnings("error")
    def test_known_ones_are_not(self, tiny):
        tiny.option_logprobs([None], "Where is the red mug?", ["left", "right"])
