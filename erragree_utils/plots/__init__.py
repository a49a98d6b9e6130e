"""Pictures of the chapters, and explorers."""

from .figures import *  # noqa: F403
