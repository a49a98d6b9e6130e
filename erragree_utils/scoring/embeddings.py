from ..measures.agreement import *  # noqa
