"""Tables as HTML."""

import re

from helpers.tables import table


def test_numbers_are_flush_right_and_text_is_flush_left():
    html = table([("one", "1.5", "1,000"), ("two", "-2.25", "")], ["name", "value", "count"]).data
    cells = re.findall(r'<td style="text-align: (\w+);">\s*([^<]*?)\s*</td>', html)
    assert cells == [
        ("left", "one"),
        ("right", "1.5"),
        ("right", "1,000"),
        ("left", "two"),
        ("right", "-2.25"),
        ("right", ""),
    ]
    headers = re.findall(r'<th style="text-align: (\w+);">\s*([^<]*?)\s*</th>', html)
    assert headers == [("left", "name"), ("right", "value"), ("right", "count")]


def test_cells_are_shown_as_they_are_formatted():
    html = table([("0.10", "1e-3")], ["a", "b"]).data
    assert "0.10" in html
    assert "1e-3" in html


def test_html_in_a_cell_is_escaped():
    assert "<b>" not in table([("<b>bold</b>",)], ["<b>"]).data
