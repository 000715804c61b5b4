"""Tables as HTML."""

import re

from helpers.tables import table


def test_numbers_are_flush_right_and_text_is_flush_left():
    html = table([("one", "1.5", "1,000"), ("two", "-2.25", "")], ["name", "value", "count"]).data
    cells = re.findall(r'<td style="text-align: (\w+);[^"]*">\s*([^<]*?)\s*</td>', html)
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


def test_lines_break_in_sentences_and_headings_but_not_between_numbers():
    numbers = ["-1.8 (-2.4 to +1.2)", "3 of 20", "95.0–97.5", "52.1 ± 41.9", "1,000 · 20 · 3"]
    sentences = ["95.0 against 3", "to be of use", "never"]
    html = table([(text,) for text in numbers + sentences], ["1 to 2"]).data
    whole = re.findall(r'<td style="[^"]*white-space: nowrap;">\s*([^<]*?)\s*</td>', html)
    assert whole == numbers
    assert html.count("nowrap") == len(numbers)


def test_cells_are_shown_as_they_are_formatted():
    html = table([("0.10", "1e-3")], ["a", "b"]).data
    assert "0.10" in html
    assert "1e-3" in html


def test_html_in_a_cell_is_escaped():
    assert "<b>" not in table([("<b>bold</b>",)], ["<b>"]).data
