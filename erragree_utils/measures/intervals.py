from .metrics import bootstrap, bootstrap_mean, wilson  # noqa: F401
