"""The paper's tables: planned, run, stored and reported."""

from .runner import ItemError, Outcome, run
from .store import read
from .stored import stored_scores
from .tables import TABLES, Table
from .tasks import ROLES, ModelChoice, Task, default_models, plan

__all__ = [
    "ROLES",
    "TABLES",
    "ItemError",
    "ModelChoice",
    "Outcome",
    "Table",
    "Task",
    "default_models",
    "plan",
    "read",
    "run",
    "stored_scores",
]
