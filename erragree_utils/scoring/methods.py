"""The ways to ask a model which text fits an image: frozen dataclasses, the usual ones by name.

A study stores results under ``asdict(method)``, so every field here must affect a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

from ..decoding import M3ID, VCD, AdaptVis, Contrast, TextContrast
from ..tabletop.questions import OF_TWO
from .questions import CHOICE_QUESTION, RELATION_QUESTION, VQA_QUESTION


@dataclass(frozen=True)
class Method:
    """What all methods have.

    Attributes
    ----------
    roles : tuple of str
        Kinds of models it works with: ``"clip"``, ``"mllm"``.
    decides : {"image", "pair", "match"}
        Whether each image gets a text, each pair one decision, or each pair one in both directions
        of matching. Chance levels differ.
    """

    roles: ClassVar[tuple[str, ...]] = ("mllm",)
    decides: ClassVar[str] = "image"

    @property
    def weight(self) -> int:
        """How many images with a prompt an entry of a batch stands for."""
        return 1

    def underlying(self, role: str) -> Method:
        """The method whose scores a kind of model gives."""
        return self


@dataclass(frozen=True)
class Matching(Method):
    """CLIP's cosine between an image and captions.

    Parameters
    ----------
    options : {"pair", "set"}
        The pair's two captions, or all of its set (four-way in What'sUp). Sets are as they are in
        the benchmark, so a selection of one relation has two options left.
    direction : {"image-to-text", "text-to-image"}
        From text to image, a caption must prefer its own of the pair's images (as MMVP-VLM is
        scored); both directions use the same four cosines.
    """

    options: Literal["pair", "set"] = "pair"
    direction: Literal["image-to-text", "text-to-image"] = "image-to-text"
    roles: ClassVar = ("clip",)


@dataclass(frozen=True)
class VQAScore(Method):
    """The probability of the answer, usually "Yes", to whether the image shows the caption.

    Parameters
    ----------
    options : {"pair", "set"}
        As in `Matching`.
    form : {"yes", "authors"}
        P(answer), or as the paper's authors compute it: the exponential of the mean log-probability
        of the answer's tokens and the end token, which rates "Yes" as the whole answer.
    blind : bool
        Leave the image out, to see what the words alone give away. Both images of a pair then get
        the same scores, so one of them is right.
    direction : {"image-to-text", "text-to-image"}
        As in `Matching`.
    """

    options: Literal["pair", "set"] = "pair"
    form: Literal["yes", "authors"] = "yes"
    question: str = VQA_QUESTION
    answer: str = "Yes"
    blind: bool = False
    direction: Literal["image-to-text", "text-to-image"] = "image-to-text"


class _Asking(Method):
    """A question about an image, perhaps under decoding that heeds it more."""

    contrast: Contrast | AdaptVis | None
    blind: bool

    def __post_init__(self) -> None:
        if self.blind and self.contrast is not None:
            raise ValueError("without an image nothing is contrasted: leave out blind or contrast")

    @property
    def weight(self) -> int:
        """A contrast reads a second stream as well."""
        return 2 if isinstance(self.contrast, Contrast) else 1


@dataclass(frozen=True)
class Options(_Asking):
    """Log-likelihood of each option as the answer to a question, in nats.

    Parameters
    ----------
    question : str, optional
        By default the pair's own question, with its options. Or a template of ``{first}``,
        ``{second}`` and ``{options}`` (`RELATION_QUESTION`), which the pair's captions fill in.
    contrast : Contrast or AdaptVis, optional
        Score under contrastive decoding, or with attention scaled. The noise of VCD follows from
        the pair's name and the image's place.
    normalize : bool
        Divide by the number of tokens.
    blind : bool
        Leave the image out.
    """

    question: str | None = None
    contrast: Contrast | AdaptVis | None = None
    normalize: bool = True
    blind: bool = False


@dataclass(frozen=True)
class Answer(_Asking):
    """A written answer, parsed strictly; fields as in `Options`.

    Parameters
    ----------
    options : {"pair", "set"}
        Whether a template offers the pair's relations, or those of the whole set.
    temperature : float
        0 takes the likeliest token; above that, tokens are drawn.
    seed : int
        Of the draws, and of VCD's noise.
    """

    question: str | None = None
    options: Literal["pair", "set"] = "pair"
    contrast: Contrast | AdaptVis | None = None
    max_new_tokens: int = 16
    blind: bool = False
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class BothImages(Method):
    """Options scored with both images in the prompt, in both orders; `prompt` asks about one."""

    prompt: str = OF_TWO
    normalize: bool = True

    def __post_init__(self) -> None:
        for field in ("{which}", "{question}"):
            if field not in self.prompt:
                raise ValueError(f"the prompt {self.prompt!r} has no {field}")

    @property
    def weight(self) -> int:
        """Two images stand in a prompt."""
        return 2


@dataclass(frozen=True)
class RelativePreference(Method):
    """Does image 0 prefer option 0 more than image 1 does? Chance is 50% of pairs.

    CLIP prefers by the cosine, a language model by the log-likelihood of the options.
    """

    roles: ClassVar = ("clip", "mllm")
    decides: ClassVar = "pair"

    def underlying(self, role: str) -> Method:
        """Its scores are those of `Matching` or of `Options`."""
        return Matching() if role == "clip" else Options()


@dataclass(frozen=True)
class GroupScore(Method):
    """Do both images and both captions of a pair find each other? Winoground's scores.

    CLIP matches by the cosine, a language model by VQAScore. `summarize` gives text, image and
    group score.
    """

    roles: ClassVar = ("clip", "mllm")
    decides: ClassVar = "match"

    def underlying(self, role: str) -> Method:
        """Its scores are those of `Matching` or of `VQAScore`."""
        return Matching() if role == "clip" else VQAScore()


METHODS: Mapping[str, Method] = {
    "matching": Matching(),
    "matching-all": Matching("set"),
    "matching-text-to-image": Matching(direction="text-to-image"),
    "vqascore": VQAScore(),
    "vqascore-all": VQAScore("set"),
    "vqascore-authors": VQAScore(form="authors"),
    "vqascore-text-to-image": VQAScore(direction="text-to-image"),
    "options": Options(RELATION_QUESTION),
    "prompted": Answer(RELATION_QUESTION),
    "prompted-4way": Answer(RELATION_QUESTION, "set"),
    "prompted-v1": Answer(CHOICE_QUESTION),
    "question-options": Options(),
    "greedy": Answer(),
    # As MMVP's authors ask, who allowed 1024 tokens and let GPT-4 read the answers.
    "sampled": Answer(temperature=0.2, max_new_tokens=64),
    "vcd": Answer(contrast=VCD()),
    "m3id": Answer(contrast=M3ID()),
    "m3id-always": Answer(contrast=M3ID(threshold=1.0)),
    "text-contrast": Answer(contrast=TextContrast()),
    "adaptvis": Answer(contrast=AdaptVis()),
    "two-images": BothImages(),
    "relative-preference": RelativePreference(),
    "group-score": GroupScore(),
}


def named_methods(
    methods: str | Method | Iterable[str | Method] | Mapping[str, str | Method], **changes: Any
) -> dict[str, Method]:
    """Methods by their names in tables; a mapping's keys are your own names.

    Parameters
    ----------
    **changes
        Fields with other values, such as ``blind=True``.

    Raises
    ------
    ValueError
        If there is no such method, or it has no such field.
    """
    if isinstance(methods, str | Method):
        methods = [methods]
    pairs = methods.items() if isinstance(methods, Mapping) else ((None, m) for m in methods)
    named = {}
    for name, method in pairs:
        known = METHODS.get(method) if isinstance(method, str) else method
        if known is None:
            raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
        odd = changes.keys() - {field.name for field in fields(known)}
        if odd:
            raise ValueError(f"{known!r} has no {' or '.join(sorted(odd))} to choose")
        label = name or (method if isinstance(method, str) else name_of(known))
        if changes and name is None:
            label += "".join(f", {key}={value!r}" for key, value in changes.items())
        named[label] = replace(known, **changes)
    return named


def name_of(method: Method) -> str:
    """Its name in `METHODS`, or its class with whatever differs from the defaults."""
    name = next((name for name, known in METHODS.items() if known == method), None)
    if name is not None:
        return name
    changed = ((f.name, getattr(method, f.name)) for f in fields(method) if f.default != getattr(
        method, f.name
    ))  # fmt: skip
    return f"{type(method).__name__}({', '.join(f'{key}={value!r}' for key, value in changed)})"


def role_of(model: Any) -> str:
    """``"clip"`` for what embeds images, ``"mllm"`` for what answers questions."""
    for role, needed in {"clip": "embed_images", "mllm": "answer_logprobs"}.items():
        if hasattr(model, needed):
            return role
    raise TypeError(f"{model!r} is neither a Clip nor a Mllm")
