"""ARFF and tab-separated tables: what is written is read, and what cannot be read is named with its line."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from critbatch.datasets.tables import Column, classes, numbers, one_hot, read_arff, read_tsv

SAMPLE = """% A comment
@RELATION 'a table'

@attribute 'cap shape'\t{ 'b c', "d,e", it\\'s?, f }
@ATTRIBUTE size  integer [1,10]
@attribute OD280/OD315 REAL
@attribute class {yes, no}
@DATA
'b c',1,.28,yes
% another
"d,e", ? ,-1e3,no
f,3,?,no\r
?,4,0,yes
"""


def test_a_table_with_quotes_comments_and_missing_values_is_read():
    shape, size, ratio, label = read_arff(SAMPLE.replace("it\\'s?, ", "'it\\'s', "))
    assert shape == Column("cap shape", ("b c", "d,e", "f", None), ("b c", "d,e", "it's", "f"))
    assert size == Column("size", ("1", None, "3", "4"), None)
    assert ratio.name == "OD280/OD315"
    np.testing.assert_array_equal(numbers(ratio), [0.28, -1000, np.nan, 0])
    assert classes(label)[0].tolist() == [0, 1, 1, 0]


TEXT = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), min_size=1, max_size=6)


def quoted(text: str) -> str:
    return "'" + re.sub(r"(['\\])", r"\\\1", text) + "'"


@given(st.lists(TEXT, min_size=1, max_size=4, unique=True), st.data())
def test_any_quoted_text_comes_back(values, data):
    cells = data.draw(st.lists(st.sampled_from([*values, None]), min_size=1, max_size=5))
    header = f"@attribute {quoted(values[0])} {{{', '.join(map(quoted, values))}}}\n@attribute n real\n@data\n"
    body = "\n".join(f"{'?' if cell is None else quoted(cell)},1" for cell in cells)
    column = read_arff(header + body)[0]
    assert column == Column(values[0], tuple(cells), tuple(values))


BAD = {
    "a missing cell": ("@attribute a real\n@attribute b real\n@data\n1,2\n1", "ARFF line 5: 1 values for 2 attributes"),
    "a value that is not declared": (
        "@attribute a {x, y}\n@data\nz",
        "ARFF line 3: 'z' is not a value of attribute 'a'",
    ),
    "a sparse row": ("@attribute a real\n@data\n{0 1}", "ARFF line 3: sparse rows are not read"),
    "a text attribute": ("@attribute a string\n@data\nx", "ARFF line 1: attribute 'a' is of type 'string'"),
    "no type": ("@attribute a\n@data\n1", "ARFF line 1: no attribute can be read"),
    "an open quote": ("@attribute a {x}\n@data\n'x", "ARFF line 3: quotes do not match"),
    "no rows": ("@attribute a real\n@data\n", "1 attributes and 0 rows were found"),
    "no header": ("<html>", "0 attributes and 0 rows were found"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_text_that_is_no_table_is_refused_with_its_line(name):
    text, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        read_arff(text)


def test_tab_separated_columns_are_numbers_but_for_the_target():
    first, target = read_tsv("A1\ttarget\n1.5\t3\n?\t1\n2\t10\n")
    np.testing.assert_array_equal(numbers(first), [1.5, np.nan, 2])
    assert target.values == ("1", "3", "10")
    with pytest.raises(ValueError, match="TSV line 3: 1 cells for 2 columns"):
        read_tsv("a\ttarget\n1\t2\n3\n")


def test_a_missing_nominal_cell_has_a_column_of_its_own():
    assert one_hot(Column("a", ("x", None, "y"), ("x", "y"))).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert one_hot(Column("a", ("x", "y"), ("x", "y", "z"))).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_classes_that_never_occur_are_left_out_and_missing_ones_are_marked():
    found, names = classes(Column("a", ("c", None, "a"), ("a", "b", "c")))
    assert found.tolist() == [1, -1, 0]
    assert names == ["a", "c"]


def test_a_numeric_class_and_a_text_among_numbers_are_refused():
    with pytest.raises(ValueError, match="Column 'a' is numeric: it cannot be the class"):
        classes(Column("a", ("1",), None))
    with pytest.raises(ValueError, match="Column 'a' is numeric: could not convert string to float: 'x'"):
        numbers(Column("a", ("1", "x"), None))
