"""The rooms of the package: imports point one way, and what is private stays in its module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "erragree_utils"
MAX_LINES = 400
#: The map in contributing.md: what a room imports, and what it imports for annotations alone.
MAP = {
    room: tuple(set(re.findall(r"`(\w+)`", cell)) for cell in cells)
    for room, *cells in re.findall(
        r"^\| `(\w+)` \|[^|]*\|([^|]*)\|([^|]*)\|$",
        (ROOT / "book" / "contributing.md").read_text("utf-8"),
        re.M,
    )
}


class Import(NamedTuple):
    """A module of the package that another one imports, or a name that it takes from it."""

    source: str
    target: str
    name: str
    when: str  # "load", "call" or "types"

    @property
    def rooms(self) -> tuple[str, str]:
        """The rooms that the import connects."""
        return room(self.source), room(self.target)


def room(module: str) -> str:
    """The folder in which a module lies; the module's own name if it lies at the top."""
    return module.removeprefix(f"{PACKAGE}.").partition(".")[0]


def modules() -> dict[str, Path]:
    """Each module's file by the name under which it is imported."""
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    dotted = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(dotted, paths, strict=True)}


MODULES = modules()
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def statements(node: ast.AST, when: str = "load") -> Iterator[tuple[ast.stmt, str]]:
    """Import statements, each with the time at which it runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, when
        elif isinstance(child, ast.FunctionDef):
            yield from statements(child, "call")
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from statements(child, "types")
        else:
            yield from statements(child, when)


def imports_of(source: str) -> Iterator[Import]:
    """What a module imports from this package, which has to be relative."""
    around = source.split(".")
    if MODULES[source].name != "__init__.py":
        around.pop()
    for statement, when in statements(TREES[source]):
        if isinstance(statement, ast.Import) or not statement.level:
            assert PACKAGE not in ast.unparse(statement), f"{source}: {ast.unparse(statement)}"
            continue
        start = around[: len(around) + 1 - statement.level]
        place = ".".join([*start, *filter(None, [statement.module])])
        for alias in statement.names:
            inner = f"{place}.{alias.name}"
            target, name = (inner, "") if inner in MODULES else (place, alias.name)
            yield Import(source, target, name, when)


IMPORTS = [found for source in MODULES for found in imports_of(source)]
#: Between rooms. The package's top and its command line are ways in, and may lead anywhere.
CROSSINGS = [
    found
    for found in IMPORTS
    if found.rooms[0] not in (PACKAGE, "__main__", found.rooms[1])
    if (found.target, found.name) != (PACKAGE, "__version__")
]


class TestMap:
    def test_it_names_every_room(self):
        assert MAP.keys() == {room(name) for name in MODULES} - {PACKAGE, "__main__"}

    @pytest.mark.parametrize("name", MAP)
    def test_a_room_imports_what_the_map_says(self, name):
        found = [crossing for crossing in CROSSINGS if crossing.rooms[0] == name]
        used = {crossing.rooms[1] for crossing in found if crossing.when != "types"}
        assert (used, {crossing.rooms[1] for crossing in found} - used) == MAP[name]

    def test_imports_point_to_rows_above(self):
        above: set[str] = set()
        for name, (used, types) in MAP.items():
            assert used | types <= above, name
            above.add(name)

    def test_nothing_depends_on_training(self):
        assert not [name for name, cells in MAP.items() if "training" in set.union(*cells)]


def test_modules_do_not_import_each_other_in_a_circle():
    """A module's packages are loaded before it, unless they are being loaded already."""
    needs: dict[str, set[str]] = {name: set() for name in MODULES}
    for source, target, _, when in IMPORTS:
        if when == "load":
            parts = target.split(".")
            packages = {".".join(parts[:end]) for end in range(1, len(parts))}
            loading = {name for name in packages if f"{source}.".startswith(f"{name}.")}
            needs[source] |= {target} | packages - loading
    TopologicalSorter(needs).prepare()


def test_a_name_with_an_underscore_stays_in_its_module():
    private = re.compile(r"_(?!_)")
    taken = [found for found in IMPORTS if private.match(found.name)]
    for source, tree in TREES.items():
        inner = [found.target for found in IMPORTS if found.source == source and not found.name]
        known = {target.rpartition(".")[2] for target in inner}
        taken += [
            f"{source}: {ast.unparse(node)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and private.match(node.attr)
            if isinstance(node.value, ast.Name) and node.value.id in known
        ]
    assert not taken


def test_no_module_is_longer_than_one_can_read_at_a_sitting():
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}
