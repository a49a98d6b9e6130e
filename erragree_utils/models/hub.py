"""Files of a model from the Hugging Face hub: pinned to a commit, and with errors that help.

The hub's own client downloads: it shows its progress, resumes within a file when a connection
breaks, and keeps each complete file, so that a repeated call fetches the rest.
"""

from __future__ import annotations

import errno
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .folders import ModelError


def fetch(name: str, revision: str, patterns: list[str]) -> tuple[Path, str]:
    """The files of a repository that match, downloaded unless they are in the cache.

    Without a network, a complete copy in the cache is taken.

    Parameters
    ----------
    name : str
        ``owner/name`` on the hub.
    revision : str
        Commit, branch or tag.
    patterns : list of str
        Of file names at the top of the repository, such as ``"*.json"``.

    Returns
    -------
    folder : pathlib.Path
    commit : str
        What `revision` stood for.
    """
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]
        )
    # The client raises errors of its HTTP library, which is another one in each major version.
    except Exception as error:
        raise ModelError(_explain(name, revision, error)) from error
    return Path(folder), Path(folder).name


def _explain(name: str, revision: str, error: Exception) -> str:
    """What went wrong, and what to do."""
    causes = _chain(error)
    kinds = tuple(map(type, causes))
    statuses = [c.response.status_code for c in causes if isinstance(c, HfHubHTTPError)]
    status = statuses[0] if statuses else None
    page, cache = f"{constants.ENDPOINT}/{name}", constants.HF_HUB_CACHE
    if isinstance(error, HFValidationError):
        return f"{name!r} is no name of a model on the hub: it has the form 'owner/name'. {error}"
    if RevisionNotFoundError in kinds:
        return f"{name} has no revision {revision!r}: see {page}/commits/main for those it has."
    if status in (401, 403) or {GatedRepoError, RepositoryNotFoundError} & set(kinds):
        return (
            f"the hub has no public model {name!r} (HTTP {status}): check the spelling at {page}; "
            "if it is gated or private, accept its conditions there, and log in with `hf auth "
            f"login`, or set HF_TOKEN to a token from {constants.ENDPOINT}/settings/tokens"
        )
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in causes):
        return (
            f"the disk is full: {name} does not fit into {cache}. Make room, or name another "
            "folder in the environment variable HF_HOME, and call again: complete files are kept."
        )
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return (
            f"the files of {name} are not on this machine and the hub cannot be reached "
            f"({error}).\nCheck the connection and call again: complete files are kept. Without a "
            "network:\n"
            f"- on a machine with one, run: hf download {name} --revision {revision} --local-dir "
            "FOLDER\n  copy FOLDER here, and call load_mllm('path/to/FOLDER');\n"
            "- or stay at mini scale: load_mllm('mini')."
        )
    return (
        f"the download of {name} broke off ({type(error).__name__}: {error}). Call again: files "
        f"that are complete are kept in {cache}, and the rest is fetched."
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that caused it."""
    causes = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes
