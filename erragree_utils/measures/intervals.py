from .metrics import bootstrap_mean, wilson  # noqa: F401
