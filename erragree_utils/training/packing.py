"""Several questions behind one image, in one row that computes the same as single prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration as Llava

from ..models.tokens import SYSTEM
from ..tabletop.questions import Question
from .llava_model import shared_tokenizer

IGNORED = -100  # target of a token that doesn't count in the loss
PREFIX, NOBODY = 0, -1  # segments: what every question attends to, and what none does


@dataclass(frozen=True)
class Packed:
    """Questions packed behind images: four integer tensors (rows, length).

    `segments` is :data:`PREFIX` for the tokens that every question in the row attends to, 1, 2, ...
    for those of each question, and :data:`NOBODY` for those that nothing attends to. `targets`
    holds the next token to predict, or :data:`IGNORED` outside answers.
    """

    tokens: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> Packed:
        """Move them to a device."""
        return Packed(*(tensor.to(device) for tensor in vars(self).values()))

    def mask(self) -> torch.Tensor:
        """What each token attends to, as a mask to add to the scores: (rows, 1, length, length).

        That's the earlier tokens of the prefix and of its own question, and the token itself.
        """
        seen, seer = self.segments[:, None, :], self.segments[:, :, None]
        allowed = ((seen == PREFIX) | ((seen == seer) & (seen != NOBODY))).tril()
        device = self.segments.device
        allowed |= torch.eye(self.segments.shape[1], dtype=torch.bool, device=device)
        nothing = torch.zeros(allowed.shape, device=device)
        return nothing.masked_fill_(~allowed, float("-inf"))[:, None]


def pack(
    rows: Sequence[Sequence[Question]],
    n_patches: int,
    length: int | None = None,
    plain: Sequence[bool] = (),
    blind: Sequence[bool] = (),
) -> Packed:
    """Pack each image's questions into a row.

    `n_patches` is the number of image tokens in a row, over all images in its prompts. Questions
    that no longer fit into `length` tokens are left out; by default, all fit. `plain` rows have no
    system line, `blind` rows have no image.
    """

    tokenizer = shared_tokenizer(instructed=True)

    def encode(text: str) -> list[int]:
        return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    prefix = encode(f"<s>{SYSTEM} USER: " + "<image>" * n_patches)
    pieces = [
        [(encode(f"{q.text} ASSISTANT:"), encode(f"{q.answer}</s>")) for q in row] for row in rows
    ]
    if length is None:
        length = max(sum(len(question) + len(answer) for question, answer in row) for row in pieces)
    start, shape = len(prefix), (len(rows), len(prefix) + length)
    tokens, targets = np.full(shape, tokenizer.pad_token_id), np.full(shape, IGNORED)
    segments, positions = np.full(shape, NOBODY), np.zeros(shape, int)
    tokens[:, :start], segments[:, :start], positions[:, :start] = prefix, PREFIX, np.arange(start)
    for r, row in enumerate(pieces):
        at, segment = start, 0
        for question, answer in row:
            end = at + len(question) + len(answer)
            if end > shape[1]:
                continue
            segment += 1
            tokens[r, at:end] = question + answer
            segments[r, at:end] = segment
            positions[r, at:end] = np.arange(start, start + end - at)
            targets[r, at + len(question) - 1 : end - 1] = answer
            at = end
    # nothing attends to the system line or the image, and what follows moves up
    for without, (first, stop) in ((plain, (1, 2)), (blind, (start - n_patches, start))):
        without = np.flatnonzero(without)
        segments[without, first:stop] = NOBODY
        positions[without, stop:] -= stop - first
    return Packed(*map(torch.from_numpy, (tokens, segments, positions, targets)))


def packed_states(model: Llava, features: torch.Tensor, packed: Packed) -> torch.Tensor:
    """The Llama's last states (rows, length, width), for images given as patch tokens."""
    embedded = model.get_input_embeddings()(packed.tokens)
    if features.shape[1]:
        image = model.model.multi_modal_projector(features).to(embedded.dtype)
        embedded = torch.cat([embedded[:, :3], image, embedded[:, 3 + image.shape[1] :]], dim=1)
    return model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=packed.mask(),
        position_ids=packed.positions,
        use_cache=False,
    ).last_hidden_state


def answer_logits(
    model: Llava, features: torch.Tensor, packed: Packed
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the answers' tokens are predicted (rows, length), and their logits in float32."""
    states, where = packed_states(model, features, packed), packed.targets != IGNORED
    return where, model.lm_head(states[where]).float()


def answer_loss(model: Llava, features: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, in nats."""
    start = features.shape[1] + 2  # no answer begins before the questions
    logits = model.lm_head(packed_states(model, features, packed)[:, start:]).float()
    targets = packed.targets[:, start:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
