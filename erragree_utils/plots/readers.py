"""Who reads what: a diagram of CLIP beside LLaVA, with a shape each for wide and narrow pages."""

from __future__ import annotations

from html import escape

from .live_parts import Live
from .style import LOOKS

_CLIP, _LLAVA = "reads-clip", "reads-llava"
_PATCH = 13  # side of a patch token, in units of the drawing
# Colours come from the page (live.css); elsewhere, as on Colab, the ones after the commas apply.
_STYLE = f"""
figure.reads {{ container-type: inline-size; display: block; width: 100%; max-width: 46rem;
  margin: 1.25rem 0; text-align: left; }}
figure.reads svg {{ display: block; width: 100%; height: auto; color: inherit; }}
figure.reads svg.reads-narrow {{ display: none; max-width: 24rem; margin: 0 auto; }}
@container (max-width: 34rem) {{
  figure.reads svg.reads-wide {{ display: none; }}
  figure.reads svg.reads-narrow {{ display: block; }}
}}
figure.reads :is(rect, path, circle) {{ fill: none; stroke: currentColor; stroke-width: 1.5; }}
figure.reads text {{ fill: currentColor; font-size: 14px; font-family: inherit; }}
.bd-article figure.reads figcaption {{ margin-top: 0.6rem; color: inherit; font-weight: normal;
  font-size: 0.9rem; text-align: left; }}
figure.reads .reads-head {{ font-weight: 700; font-size: 15px; }}
figure.reads .reads-small {{ font-size: 13px; }}
figure.reads .reads-clip {{ color: var(--live-clip, {LOOKS["clip"][0]}); }}
figure.reads .reads-llava {{ color: var(--live-llava, {LOOKS["llava"][0]}); }}
figure.reads .reads-filled {{ fill: currentColor; fill-opacity: 0.14; }}
figure.reads .reads-point {{ fill: currentColor; stroke: none; }}
"""
_DESCRIPTION = (
    "An image goes through CLIP's vision encoder, which is frozen and the same for both readers, "
    "and becomes patch tokens. CLIP pools them into one vector and compares it, by a cosine, with "
    "the vector that its text encoder makes of a caption. LLaVA hands all patch tokens through a "
    "projector to a language model, which also reads a question and answers Yes or No."
)


def who_reads_what(caption: str = "") -> Live:
    """CLIP and LLaVA side by side, from the same image and frozen encoder to what each returns.

    The caption is plain text; a notebook gives one in its cell's metadata instead.
    """
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Live(
        f'<figure class="reads"><style>{_STYLE}</style>'
        f"{_svg('reads-wide', 720, 300, _wide())}{_svg('reads-narrow', 340, 560, _narrow())}"
        f"{told}</figure>",
        "CLIP compares two vectors, LLaVA reads every patch token",
    )


def _wide() -> list[str]:
    return [
        *_picture(8, 112, 76),
        _text(46, 206, "image"),
        *_arrow(88, 150, 108, 150),
        _box(110, 115, 132, 70, "CLIP's", "vision encoder"),
        _text(176, 206, "frozen, the same", small=True),
        _text(176, 224, "for both readers", small=True),
        *_arrow(244, 150, 264, 150),
        *_patches(268, 118, 5),
        _text(301, 206, "patch tokens"),
        _text(394, 22, "CLIP compares two vectors", _CLIP, head=True, start=True),
        *_arrow(338, 138, 390, 78, _CLIP),
        _box(394, 40, 92, 60, "pooled:", "one vector", kind=_CLIP),
        *_arrow(488, 70, 506, 70, _CLIP),
        _box(508, 48, 68, 44, "cosine", kind=_CLIP, filled=True),
        *_arrow(604, 70, 578, 70, _CLIP),
        _box(606, 40, 106, 60, "text encoder:", "one vector", kind=_CLIP),
        *_arrow(659, 124, 659, 102, _CLIP),
        _text(659, 140, "a caption", _CLIP),
        _text(394, 186, "LLaVA reads every patch token", _LLAVA, head=True, start=True),
        *_arrow(338, 162, 390, 222, _LLAVA),
        _box(394, 206, 92, 50, "projector", kind=_LLAVA),
        *_arrow(488, 231, 506, 231, _LLAVA),
        _box(508, 206, 114, 50, "language", "model", kind=_LLAVA, filled=True),
        *_arrow(624, 231, 644, 231, _LLAVA),
        _text(682, 236, "Yes / No", _LLAVA),
        *_arrow(565, 280, 565, 258, _LLAVA),
        _text(565, 295, "a question", _LLAVA),
    ]


def _narrow() -> list[str]:
    return [
        *_picture(132, 4, 76),
        _text(240, 46, "image"),
        *_arrow(170, 84, 170, 102),
        _box(94, 104, 152, 44, "CLIP's vision encoder"),
        _text(170, 168, "frozen, the same for both", small=True),
        *_arrow(170, 176, 170, 194),
        *_patches(137, 198, 5),
        _text(256, 236, "patch tokens"),
        *_arrow(134, 250, 92, 292, _CLIP),
        *_arrow(206, 250, 248, 292, _LLAVA),
        _text(82, 314, "CLIP compares", _CLIP, head=True),
        _text(82, 332, "two vectors", _CLIP, head=True),
        _box(16, 344, 132, 44, "pooled:", "one vector", kind=_CLIP),
        *_arrow(82, 390, 82, 406, _CLIP),
        _box(36, 408, 92, 34, "cosine", kind=_CLIP, filled=True),
        *_arrow(82, 462, 82, 444, _CLIP),
        _box(16, 464, 132, 44, "text encoder:", "one vector", kind=_CLIP),
        *_arrow(82, 530, 82, 510, _CLIP),
        _text(82, 546, "a caption", _CLIP),
        _text(256, 314, "LLaVA reads every", _LLAVA, head=True),
        _text(256, 332, "patch token", _LLAVA, head=True),
        _box(190, 344, 132, 44, "projector", kind=_LLAVA),
        *_arrow(256, 390, 256, 406, _LLAVA),
        _box(190, 408, 132, 44, "language model", kind=_LLAVA, filled=True),
        *_arrow(224, 530, 224, 454, _LLAVA),
        _text(224, 546, "a question", _LLAVA),
        *_arrow(288, 454, 288, 484, _LLAVA),
        _text(294, 504, "Yes / No", _LLAVA),
    ]


def _svg(name: str, width: int, height: int, parts: list[str]) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(_DESCRIPTION)}">{"".join(parts)}</svg>'
    )


def _picture(x: int, y: int, side: int) -> list[str]:
    """The image: a mug to the left of a chair."""
    return [
        f'<rect x="{x}" y="{y}" width="{side}" height="{side}" rx="4"/>',
        f'<path d="M{x + 12} {y + 46}h16v18h-16z M{x + 12} {y + 50}h-5v9h5"/>',
        f'<path d="M{x + 66} {y + 14}v50 M{x + 66} {y + 40}h-24v24"/>',
    ]


def _patches(x: int, y: int, count: int) -> list[str]:
    """A square of patch tokens."""
    return [
        f'<rect class="reads-filled" x="{x + _PATCH * i}" y="{y + _PATCH * j}" '
        f'width="{_PATCH - 3}" height="{_PATCH - 3}"/>'
        for j in range(count)
        for i in range(count)
    ]


def _box(
    x: int, y: int, width: int, height: int, *lines: str, kind: str = "", filled: bool = False
) -> str:
    first = y + height / 2 + 5 - 9 * (len(lines) - 1)
    texts = [_text(x + width / 2, first + 18 * i, line) for i, line in enumerate(lines)]
    fill = ' class="reads-filled"' if filled else ""
    rect = f'<rect{fill} x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
    return f'<g class="{kind}">{rect}{"".join(texts)}</g>'


def _text(
    x: float, y: float, words: str, kind: str = "", head: bool = False, start: bool = False,
    small: bool = False,
) -> str:  # fmt: skip
    kinds = " ".join(k for k in (kind, head and "reads-head", small and "reads-small") if k)
    anchor = "start" if start else "middle"
    return (
        f'<text class="{kinds}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def _arrow(x1: int, y1: int, x2: int, y2: int, kind: str = "") -> list[str]:
    """A line with a head at its end."""
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    bx, by = x2 - 9 * ux, y2 - 9 * uy
    head = f"M{x2} {y2}L{bx - 4 * uy:.1f} {by + 4 * ux:.1f}L{bx + 4 * uy:.1f} {by - 4 * ux:.1f}z"
    return [
        f'<path class="{kind}" d="M{x1} {y1}L{bx:.1f} {by:.1f}"/>',
        f'<path class="{kind} reads-point" d="{head}"/>',
    ]
