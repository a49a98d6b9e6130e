"""Controlled ablations: small models that differ in one factor, trained and measured alike.

``python -m erragree_utils.training.ablations --list`` shows them. :func:`results` reads the runs
that were recorded, :func:`summarise` and :func:`effects` condense them, :func:`rerun` makes one
anew.
"""

from .experiments import BASE as BASE
from .experiments import COUNTERPARTS as COUNTERPARTS
from .experiments import EXPERIMENTS as EXPERIMENTS
from .experiments import FAMILIES as FAMILIES
from .experiments import Settings as Settings
from .tables import difference as difference
from .tables import effects as effects
from .tables import missing_runs as missing_runs
from .tables import overview as overview
from .tables import ranking as ranking
from .tables import results as results
from .tables import summarise as summarise
from .train import collect as collect
from .train import rerun as rerun
