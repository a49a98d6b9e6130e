"""All the published files that the chapters ask for at paper scale, small, where they look."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import benchmarks, hub, models

N_SETS = 8  # of What'sUp A and of B
N_PAIRS = 9  # of MMVP
PER_TYPE = 2  # pairs of each of MMVP-VLM's types
HERE = Path(__file__).parent


def before() -> str:
    """What a chapter's kernel runs first; it differs where the stand-ins do."""
    sources = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))
    return (
        f"# stand-ins {hashlib.sha256(sources).hexdigest()[:16]}\n"
        "from tests.standins import kernel\n"
        f"kernel.register({models.CLIP!r}, {models.DINO!r})\n"
    )


def variables(root: Path) -> dict[str, str]:
    """The environment of a kernel at paper scale, but for the hub's address."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "ERRAGREE_"))}
    return kept | {
        "ERRAGREE_SCALE": "paper", "ERRAGREE_CACHE": f"{root}/cache", "HF_HOME": f"{root}/home",
        "PYTHONPATH": str(HERE.parents[1]), "NO_PROXY": "127.0.0.1",
    }  # fmt: skip


@contextmanager
def built(root: Path) -> Iterator[dict[str, str]]:
    """The environment of a kernel, with models on a hub and benchmarks in the cache."""
    owners, cache = root / "hub", root / "cache"
    clip = models.write_clip(owners / "timm" / "vit_large_patch14_clip_336.openai")
    models.write_vision(owners / "timm" / "vit_large_patch14_dinov2.lvd142m")
    models.write_llava(owners / "llava-hf" / "llava-1.5-7b-hf", clip)
    benchmarks.write_mmvp(cache / "mmvp", N_PAIRS)
    benchmarks.write_mmvp_vlm(cache / "mmvp-vlm", PER_TYPE)
    for name in ("whatsup-a", "whatsup-b"):
        benchmarks.write_whatsup(cache / "whatsup", name, N_SETS)
    with hub.served(owners) as address:
        yield variables(root) | {"HF_ENDPOINT": address}
