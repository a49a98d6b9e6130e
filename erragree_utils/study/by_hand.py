"""What to save where if you only have a browser: addresses, places, and what uses each file."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..benchmarks import mmvp, mmvp_statements, spatial, whatsup
from ..benchmarks.download import cache_folder
from ..benchmarks.transfer import RemoteFile
from ..scale import MODEL_VARIABLES

HUB = "https://huggingface.co"
#: Files of LLaVA-1.5-7B; those of other models are on their pages.
LLAVA_FILES = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "chat_template.jinja", "added_tokens.json", "special_tokens_map.json", "tokenizer.json",
    "tokenizer.model", "tokenizer_config.json", "model.safetensors.index.json",
    *(f"model-0000{k}-of-00003.safetensors" for k in (1, 2, 3)),
)  # fmt: skip
CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
IN_PLACE = "every file is in its place"
VISION_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class Saving:
    """An address to open in a browser, and the file or folder to save it as."""

    address: str
    place: Path
    what: str = ""  # if it is more than one file
    there: Path | None = None  # what it is unpacked to, if anything

    def __str__(self) -> str:
        return f"  save {self.what}{self.address} as {self.place}"

    @property
    def is_there(self) -> bool:
        """Whether it, or what it is unpacked to, is in place."""
        return any(path is not None and path.exists() for path in (self.place, self.there))


def for_benchmark(name: str) -> str:
    """One line for each file missing from the cache, and a command that checks and unpacks them."""
    use = f"python -m erragree_utils download --scale paper --benchmark {name}"
    note = ""
    if name == "mmvp":
        page = f"{HUB}/datasets/lmms-lab-eval/MMVP/tree/main/data"
        statements = mmvp_statements.LIST
        note = (
            f"\n  or, instead of 301 files, save the one .parquet file at {page} in a folder, "
            f"{statements.page} beside it as {statements.name}, and add --option "
            "mmvp.folder=FOLDER to the command run"
        )
    return _told(list(_of_benchmark(name)), f"{use} (checks and unpacks; chapters find it)") + note


def _of_benchmark(name: str) -> Iterator[Saving]:
    if name in whatsup.PARTS:
        yield from _published(whatsup.CACHE, whatsup.PARTS[name].json, whatsup.PARTS[name].images)
    elif name in spatial.SOURCES:
        source = spatial.SOURCES[name]
        yield from _published(whatsup.CACHE, *source.json.values(), source.images)
    else:
        data = mmvp.VLM if name == "mmvp-vlm" else mmvp.DATA_SETS["MMVP/MMVP"]
        root, files = data.place(None), f"{HUB}/datasets/{data.repository}/resolve/main"
        yield Saving(f"{files}/{mmvp.CSV}", root / mmvp.CSV)
        if data is mmvp.VLM:
            folder = root / mmvp.VLM_IMAGES
            page = f"{HUB}/datasets/{data.repository}/tree/main/{quote(mmvp.VLM_IMAGES)}"
            yield Saving(page, folder / "TYPE" / "NUMBER.jpg", "every image at ", folder)
        else:
            folder = root / mmvp.IMAGES[0]
            address = f"{files}/{quote(mmvp.IMAGES[0])}/N.jpg"
            yield Saving(address, folder / "N.jpg", "for N from 1 to 300, ", folder / "300.jpg")
            yield from _published("mmvp", mmvp_statements.LIST)


def _published(cache: str, *remotes: RemoteFile) -> Iterator[Saving]:
    for remote in remotes:
        root = cache_folder() / cache
        yield Saving(remote.page, root / remote.name, there=root / remote.result)


def for_model(role: str, repository: str, revision: str, files: tuple[str, ...]) -> str:
    """One line for each file of a hub model that is missing from its folder, and what uses it.

    Without `files`, as for other models, this gives the page that lists them.
    """
    folder = cache_folder() / "models" / repository.rpartition("/")[2]
    base = f"{HUB}/{repository}"
    savings = [Saving(f"{base}/resolve/{revision}/{file}", folder / file) for file in files]
    if not savings:
        kinds = "every file that ends in .json, .jinja, .txt, .model or .safetensors at "
        savings = [Saving(f"{base}/tree/{revision}", folder / "ITS-NAME", kinds, folder)]
    place = shlex.quote(str(folder))
    option = "" if role == "vision" else f"--model {role}={place} for `run`, and "
    lines = _told(savings, f"{option}export {MODEL_VARIABLES[role]}={place} for the chapters")
    return f"{lines}\n  its page, should it have other files: {base}/tree/{revision}"


def _told(savings: list[Saving], use: str) -> str:
    lacking = [saving for saving in savings if not saving.is_there]
    head = "to be saved with a browser:" if lacking else IN_PLACE
    return "\n".join([head, *map(str, lacking), f"  then: {use}"])
