"""The published numbers: each once, and found by what it is."""

from __future__ import annotations

import pytest

from erragree_utils.paper import BENCHMARKS, GRADES, KINDS, PUBLISHED, published, published_table


def test_each_number_is_there_once_with_known_names():
    names = [(n.reader, n.benchmark, n.relation, n.kind, n.protocol, n.version) for n in PUBLISHED]
    assert len(set(names)) == len(names)
    for number in PUBLISHED:
        assert number.benchmark in BENCHMARKS and number.kind in KINDS and number.grade in GRADES
        assert 0 < number.value < 1


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
    with pytest.raises(LookupError, match="no published number"):
        published_table(reader="GPT-4")
