"""Limits on what a chat template may use: it's a program written by a stranger."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .folders import ModelError

if sys.platform.startswith("linux"):
    import resource

#: Seconds of rendering, bytes of memory, characters written.
MAX_SECONDS, MAX_BYTES, MAX_LENGTH = 5.0, 1 << 30, 1_000_000
MAX_FACTOR, MAX_DIGITS = 1_000_000, 20  # in multiplications, of rounded numbers
_TICK_S = 0.1
_TURN = threading.RLock()  # one rendering at a time: the memory limit is the process's


class _Stop(BaseException):
    """Thrown into a rendering that takes too long; no ``except Exception`` holds it up."""


class _Generation(Extension):
    """The tag of Transformers around an answer; here it is only read."""

    tags = frozenset({"generation"})

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_JINJA = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols", _Generation])


def check_template(template: str, name: str) -> None:
    """Refuse arithmetic that could take forever in one step, where `bounded` can't stop it.

    It has to come before the template is compiled: Jinja computes constants then.
    """
    for node in _JINJA.parse(template).find_all((nodes.Pow, nodes.Mul, nodes.Filter)):
        if not _is_harmless(node):
            raise ModelError(
                f"the chat template of {name} holds arithmetic that may not come to an end (line "
                f"{node.lineno}): it is damaged, or not meant well"
            )


def _is_harmless(node: nodes.Node) -> bool:
    match node:
        case nodes.Pow():
            return False
        case nodes.Mul():
            # Numbers that are multiplied with each other in a loop double their length each time.
            values = _constants([node.left, node.right])
            return bool(values) and _within(values, MAX_FACTOR)
        case nodes.Filter(name="round"):  # it computes a power of ten
            arguments = [*node.args, *(pair.value for pair in node.kwargs)]
            values = _constants(arguments)
            fixed = len(values) == len(arguments) and not node.dyn_args and not node.dyn_kwargs
            return fixed and _within(values, MAX_DIGITS)
        case nodes.Filter(name="map"):  # it applies another filter, by its name
            names = _constants(node.args[:1])
            return not node.dyn_args and names != ["round"] and (bool(names) or not node.args)
    return True


def _constants(parts: list[nodes.Expr]) -> list[Any]:
    return [part.value for part in parts if isinstance(part, nodes.Const)]


def _within(values: list[Any], most: int) -> bool:
    return all(abs(value) <= most for value in values if isinstance(value, int | float))


def bounded(render: Callable[[], str], name: str) -> str:
    """A chat template's output, unless it takes too much time, memory or text."""
    too_long = ModelError(
        f"the chat template of {name} writes more than {MAX_LENGTH} characters or needs more than "
        f"{MAX_BYTES >> 20} MiB: it is damaged, or not meant well"
    )
    try:
        with _TURN, _memory_limit():
            text = _WATCH.run(render)
    except MemoryError:
        raise too_long from None
    except _Stop:
        raise ModelError(
            f"the chat template of {name} does not come to an end: it is damaged, or not meant well"
        ) from None
    if len(text) > MAX_LENGTH:
        raise too_long
    return text


@contextmanager
def _memory_limit() -> Iterator[None]:
    """No more than `MAX_BYTES` on top of what is in use; on Linux alone."""
    if not sys.platform.startswith("linux"):
        yield
        return
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MAX_BYTES
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Watch:
    """A thread that stops a rendering from outside, as tracing each line would cost far more.

    A step in C is not stopped before its end: see `check_template`.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._token: list[int] = []  # holds the thread that renders

    def run(self, render: Callable[[], str]) -> str:
        """What is rendered; _Stop if that takes too long."""
        if self._thread is None or not self._thread.is_alive():  # none survives a fork
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()
        token, failure, text = [threading.get_ident()], None, ""
        self._token = token
        try:
            try:
                text = render()
            except Exception as error:
                failure = error
            # Who takes the token first decides. If it is gone, _Stop is on its way to here, and
            # must not arrive in what comes after.
            try:
                token.pop()
            except IndexError:
                while True:
                    time.sleep(_TICK_S)
        finally:
            token.clear()
        if failure is not None:
            raise failure
        return text

    def _look(self) -> None:
        last, ticks = self._token, 0
        while True:
            # Ticks, not a clock: a computer that was asleep has not rendered.
            time.sleep(_TICK_S)
            if self._token is not last:
                last, ticks = self._token, 0
                continue
            ticks += 1
            if ticks * _TICK_S >= MAX_SECONDS:
                try:
                    thread = ctypes.c_ulong(last.pop())
                except IndexError:  # it has come to its end
                    continue
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_Stop))


_WATCH = _Watch()
