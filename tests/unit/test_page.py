"""Pages: everything inside, everything escaped, numbers as they are read and as they sort."""

import cv2
import numpy as np
import pytest

from panoptic_deeplab.page import (
    Bars,
    Column,
    Matrix,
    Pictures,
    Section,
    SortableTable,
    Text,
    data_address,
    render_page,
    show_cell,
)


def png(value: int) -> bytes:
    ok, content = cv2.imencode(".png", np.full((4, 6, 3), value, np.uint8))
    assert ok
    return content.tobytes()


def sections() -> list[Section]:
    table = SortableTable(
        (Column("class"), Column("PQ", "panoptic quality", 1), "found"),
        (("car", 61.25, 1200), ("<b>road</b>", None, 3)),
        key="classes",
    )
    matrix = Matrix(("car", "road"), ("car", "road"), ((9, 1), (0, 0)), "true", "predicted")
    bars = Bars({"missed": "#aa0000", "split": "#00aa00"}, {"car": (3, 1), "road": (0, 0)})
    pictures = Pictures({"truth": png(10), "prediction": png(200)}, "a & b")
    return [Section("Numbers", (Text("1 < 2"), table, matrix, bars)), Section("S", (pictures,))]


def test_a_page_holds_all_it_shows_and_fetches_nothing() -> None:
    html = render_page("A <title>", sections(), subtitle="x & y").decode()
    assert "A &lt;title&gt;" in html
    assert "<b>road</b>" not in html
    assert "1 &lt; 2" in html
    assert "x &amp; y" in html
    assert html.count("data:image/png;base64,") == 2
    for outside in ("http:", "https:", 'src="/', "@import", "<link"):
        assert outside not in html
    assert "default-src 'none'" in html


def test_fields_sort_by_all_their_digits_and_read_with_few() -> None:
    html = render_page("t", sections()).decode()
    assert 'data-key="61.25">61.2</td>' in html
    assert 'data-key="">–</td>' in html
    assert 'data-key="1200">1,200</td>' in html
    assert 'title="panoptic quality"' in html


def test_an_empty_row_of_a_matrix_is_no_division_by_zero() -> None:
    matrix = Matrix(("a",), ("a", "b"), ((0, 0),))
    assert matrix.shares == [[0, 0]]
    assert Bars({"x": "#000000"}, {}).longest == 1


def test_wrong_rows_and_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="2 columns, got a row of 1 fields"):
        SortableTable(("a", "b"), (("x",),), "t")
    with pytest.raises(ValueError, match=r"hold PNG, JPEG and SVG pictures, got .* b'GIF89a'"):
        data_address(b"GIF89a")


def test_cells() -> None:
    assert show_cell(False, 0) == "no"
    assert show_cell(3.0, 0) == "3"
    assert show_cell(-1234567, 0) == "-1,234,567"
