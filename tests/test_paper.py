"""The published numbers: each once, found by what it is, and typed nowhere else."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import jupytext
import pytest

from erragree_utils.paper import BENCHMARKS, GRADES, KINDS, PUBLISHED, published, published_table

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
A_PAPER = re.compile(r"paper|publi|report|arxiv|LLaVA-1\.5|ViT-L|Phi-3|LLaMA-3|MMVP\b|What'sUp")


def test_each_number_is_there_once_with_known_names():
    names = [(n.reader, n.benchmark, n.relation, n.kind, n.protocol, n.version) for n in PUBLISHED]
    assert len(set(names)) == len(names)
    for number in PUBLISHED:
        assert number.benchmark in BENCHMARKS and number.kind in KINDS and number.grade in GRADES
        assert 0 <= number.value < 1


def test_a_number_says_its_protocol_version_and_grade():
    number = published(reader="LLaVA-1.5-7B", relation="left/right", kind="pair", version="v3")
    assert str(number) == (
        "93.2: LLaVA-1.5-7B, What'sUp A left/right, pair accuracy by VQAScore with the end token "
        "(v3) [S]"
    )


def test_a_description_of_several_numbers_or_none_is_refused():
    with pytest.raises(LookupError, match="98.1: .*; 93.2: "):
        published(reader="LLaVA-1.5-7B", benchmark="whatsup-a", relation="left/right", kind="pair")
    with pytest.raises(LookupError, match="none"):
        published(reader="GPT-4")


def test_the_table_has_a_row_for_each_number_that_fits():
    table = published_table(relation="left/right", kind="pair", version="v1")
    assert table["published"].to_dict() == {"CLIP ViT-L/14-336": "1.9", "LLaVA-1.5-7B": "98.1"}
    assert set(table["benchmark"]) == {"What'sUp A, left/right"}
    assert {source.split(":")[0] for source in table["source"]} == {"v1 and v3", "v1"}
    with pytest.raises(LookupError, match="no published number"):
        published_table(reader="GPT-4")


def test_a_tuple_stands_for_any_of_its_values():
    table = published_table(benchmark="mmvp", kind=("pair", "relative"), methods=("greedy", "m3id"))
    assert list(table["published"]) == ["25.3", "31.3"]
    table = published_table(version="v3", relation="left/right", benchmark="whatsup-a")
    assert {"1.9", "93.2", "22.3"} <= set(table["published"])


# --- typed nowhere else --------------------------------------------------------------------------

#: Spellings of the published numbers, but for round ones that could be anything.
SPELLINGS = {
    text
    for n in PUBLISHED
    if len(n.number.strip("0.")) > 1
    for text in (n.number, f"{n.value:g}", f"{n.value:.3f}", f"{100 * n.value:g}")
    if "." in text
}
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)")


def typed_numbers(code: str) -> set[str]:
    """Published numbers that code types beside a paper's name: as literals, in texts or comments.

    Beside a literal stand: the variable it is assigned to, its keyword or key, and texts in the
    same list, dict or arguments. A bound that a claim tests is beside its own keyword, not beside
    the claim's ``paper=``.
    """
    code = re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)
    spoken = [t.string for t in tokenize.generate_tokens(io.StringIO(code).readline)
              if t.type == tokenize.COMMENT]  # fmt: skip
    typed = set()

    def text(node: ast.AST) -> str:
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""

    def visit(node: ast.AST, names: str) -> None:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, float) and A_PAPER.search(names):
                typed.update({ast.get_source_segment(code, node)} & SPELLINGS)
            spoken.append(text(node))
        elif isinstance(node, ast.keyword):
            visit(node.value, f"{names} {node.arg}")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            visit(node.value, " ".join(map(ast.unparse, targets)))
        elif isinstance(node, ast.Dict):
            beside = " ".join(map(text, node.values))
            for key, value in zip(node.keys, node.values, strict=True):
                visit(value, f"{names} {beside} {'' if key is None else ast.unparse(key)}")
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            beside = " ".join(map(text, node.elts))
            for item in node.elts:
                visit(item, f"{names} {beside}")
        elif isinstance(node, ast.Call):
            beside = " ".join(map(text, node.args))
            for item in [node.func, *node.args]:
                visit(item, f"{names} {beside}")
            for item in node.keywords:
                visit(item, names)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, names)

    visit(ast.parse(code), "")
    return typed.union(*map(quoted_numbers, spoken))


def quoted_numbers(words: str) -> set[str]:
    """Published numbers, as `Published.number` writes them, in words that name a paper."""
    if not A_PAPER.search(words):
        return set()
    return {n.number for n in PUBLISHED}.intersection(NUMBER.findall(words)) & SPELLINGS


@pytest.mark.parametrize(
    "code",
    [
        'paper = {"A": {"pair_accuracy": 0.019}}',
        'plots.accuracy_bars(summary, paper={"A": {"pair_accuracy": 0.019}})',
        'rows = [("LLaVA-1.5-7B", 25.3), ("mini", share)]',
        'table["published"] = [14.0, share]',
        'pd.DataFrame({"reader": "LLaVA-1.5-7B", "pair": 0.253}, index=[0])',
        'print("LLaVA-1.5-7B is right on 25.3% of the pairs")',
        "%time x = 1\nx = 2  # the paper: 73.3",
        'published_value = 0.981',
        'paper = dict(pair=0.981)',
    ],
)  # fmt: skip
def test_a_typed_number_is_noticed_beside_a_papers_name(code):
    assert typed_numbers(code)


@pytest.mark.parametrize(
    "code",
    [
        'finding("as in the paper", value, above=0.99, paper=published(kind="cosine"))',
        'claims = [finding("more than 64%", value, above=0.64, seed=1)]',
        "gap, limit = 1.9, 0.253",
        'limits = {"T4": 14.9}\npaper = published(kind="cosine")',
        'steps = {"tabletop-mmvp": 0.49, "paper": 0.2}',
        "version = '0.49.0'  # of the published package",
    ],
)
def test_numbers_of_ones_own_are_left_alone(code):
    assert not typed_numbers(code)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapters_take_published_numbers_from_the_package(notebook):
    typed = set()
    for cell in jupytext.read(notebook).cells:
        if cell.cell_type == "code":
            typed |= typed_numbers(cell.source)
        else:
            typed = typed.union(*map(quoted_numbers, cell.source.splitlines()))
    assert not typed, "show them by published_table, or take them from erragree_utils.paper"


def test_the_front_page_types_none():
    """Its table is made from the chapters' findings and the package's numbers by the build."""
    assert not re.findall(r"\d+\.\d%", (ROOT / "book" / "index.md").read_text("utf-8"))
