"""Data sets of the Hugging Face hub, in a local folder or fetched into the cache."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from .base import BenchmarkError
from .download import DownloadError, cache_folder


@dataclass(frozen=True)
class DataSet:
    """A data set's repository, what to fetch from it, and when it's complete.

    Parameters
    ----------
    cache : str
        Folder below `cache_folder` to keep it in.
    patterns : tuple of str
        Globs of the files to fetch, of which there are `n_files` when all are there.
    layout : str
        What belongs into the folder, for messages.
    page : str
        Where its format is described.
    revision : str, optional
        The commit to fetch, where one is known that has the files.
    access : str
        What else you need to get the files, as a sentence.
    """

    repository: str
    cache: str
    patterns: tuple[str, ...]
    n_files: int
    layout: str
    page: str
    revision: str | None = None
    access: str = ""

    def folder(self, folder: str | Path | None, download: bool) -> Path:
        """The folder with the files: a local copy, or the cache, completed if need be."""
        root = self.place(folder)
        if folder is not None:
            if not root.is_dir():
                raise BenchmarkError(self.needed(root, folder))
            return root
        if self._count(root) < self.n_files:
            if not download:
                raise BenchmarkError(self.needed(root, folder))
            self._fetch(root)
            # The client takes a folder that is there for whole, if it cannot reach the hub.
            if self._count(root) < self.n_files:
                warnings.warn(
                    f"{root} is incomplete: it has {self._count(root)} of {self.n_files} files. "
                    "Either the hub cannot be reached (check the network and run the same line "
                    f"again), or {self.repository} has changed",
                    stacklevel=4,
                )
        return root

    def tables(self, root: Path, folder: str | Path | None) -> list[Path]:
        """The parquet files or, without any, the JSON lines, in the folder or its ``data``."""
        for ending in ("parquet", "jsonl"):
            for place in (root, root / "data"):
                if files := sorted(place.glob(f"*.{ending}")):
                    return files
        raise BenchmarkError(self.needed(root, folder))

    def _count(self, root: Path) -> int:
        """Files that are there."""
        return sum(1 for pattern in self.patterns for _ in root.glob(pattern))

    def place(self, folder: str | Path | None) -> Path:
        """Where the files belong, whether they're there or not."""
        return cache_folder() / self.cache if folder is None else Path(folder).expanduser()

    def needed(self, root: Path, folder: str | Path | None) -> str:
        """What `root` lacks, and how to get it there; `folder` is None for the cache."""
        state = "does not exist"
        if root.is_dir():
            state = f"is incomplete: it has {self._count(root)} of {self.n_files} files"
        other = "give download=True" if folder is None else "leave folder out"
        return (
            f"the folder {root} {state}. Needed: {self.layout}, as described at {self.page}. To "
            f"have them fetched, {other}. By hand: {self._by_hand(root)}{self._access}"
        )

    def _by_hand(self, folder: Path | str) -> str:
        revision = f" --revision {self.revision}" if self.revision else ""
        return f"hf download {self.repository} --repo-type dataset{revision} --local-dir {folder}"

    @property
    def _access(self) -> str:
        return f"\n{self.access}" if self.access else ""

    def _fetch(self, root: Path) -> None:
        """Fetch what is not there already."""
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(
                self.repository,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=list(self.patterns),
                local_dir=root,
            )
        # The client raises errors of its HTTP library, which is another one in each major version.
        except Exception as error:
            cause: BaseException = error
            # The client wraps a refusal; its first cause says why.
            while cause.__cause__ is not None:
                cause = cause.__cause__
            kept = f"{self._count(root)} of {self.n_files} files"
            raise DownloadError(
                f"{self.repository} could not be fetched ({type(cause).__name__}: {cause}). Check "
                f"the network and run the same line again: {kept} are there, and are kept in "
                f"{root}.\nTo get it by hand, run: {self._by_hand('FOLDER')}\nand give "
                f"folder='FOLDER'.{self._access}"
            ) from error
