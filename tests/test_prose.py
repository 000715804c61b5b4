"""What the lessons say: no number that the results do not bear, and no sentence instead of one.

A Markdown cell names in its metadata ``measured`` what its figures are: text -> the name of a
number that has a band in expected_results.json, or "setting", or "source" (what others reported).
A number of another lesson is named as ``lesson:number``.
test_stored_outputs.py holds the numbers themselves to these bands.
"""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from conftest import cells, each_lesson

BANDS = json.loads((Path(__file__).parent / "expected_results.json").read_text("utf-8"))["full"]
NOT_MEASURED = {"setting", "source"}
READING = "## Further reading"

EVASIONS = (
    *("check whether", "compare the", "look at how", "look where", "see how", "see whether"),
    *("summary says", "the rows say", "rows? says?", "columns? says?", "tells? whether"),
    *("it depends", "depends on the labels", "probably", "a likely reason", "likely reasons"),
    *("may be worth", "arms?", "rations?", "strangers?"),
)
EVASIVE = re.compile(rf"\b(?:{'|'.join(EVASIONS)})\b")

_CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINKS = re.compile(r"!\[[^\]]*\]\([^)]*\)|(?<=\])\([^)]*\)|</?[a-zA-Z][^>]*>")
_MATHS = re.compile(r"(?<!\\)(\$\$?)[^$]+\1")
_FIGURE = re.compile(r"(?<![\w.])[-−]?\.?\d(?:[\d.,]*\d)?")


def figures(markdown: str, *, maths: bool) -> set[str]:
    """Return the numbers written in a text, without those in code, pictures and addresses."""
    text = _LINKS.sub(" ", _CODE.sub(" ", markdown.split(READING)[0]))
    text = text if maths else _MATHS.sub(" ", text)
    return set(_FIGURE.findall(re.sub(r"[*_]", " ", text)))


def faults(markdown: str, measured: Mapping[str, str], bands: Mapping[str, list[float]]) -> set:
    """Return what is wrong with the numbers of a Markdown cell, in words."""
    found = {
        f"{text} is not in the text" for text in measured.keys() - figures(markdown, maths=True)
    }
    for text, name in measured.items():
        if name in NOT_MEASURED:
            continue
        if name not in bands:
            found.add(f"{text}: {name} has no band")
            continue
        low, high = bands[name]
        try:
            if not low <= float(text.replace(",", "").replace("−", "-")) <= high:
                found.add(f"{text}: {name} lies from {low} to {high}")
        except ValueError:
            found.add(f"{text} is no number")
    decimals = {text for text in figures(markdown, maths=False) if "." in text}
    return found | {f"{text} is not named" for text in decimals - measured.keys()}


def evasions(markdown: str) -> list[str]:
    """Return the phrases, and the gaps, that stand where a finding should."""
    return re.findall(r"\b(?:FILL\w*|TODO|TBD)\b", markdown) + EVASIVE.findall(
        " ".join(markdown.lower().split())
    )


class _Table(HTMLParser):
    """The texts of HTML tables: `rows`, a list of cells each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def unfit(html: str) -> list[list[str]]:
    """Return the rows of tables that are too wide to read, or have holes."""
    return [row for row in _Table(html).rows if len(row) > 4 or not all(row)]


def until_reading(path: Path) -> list[nbformat.NotebookNode]:
    """Return a lesson's Markdown cells up to that of further reading."""
    kept = cells(path, "markdown")
    last = next(i for i, cell in enumerate(kept) if READING in cell.source)
    return kept[: last + 1]


@each_lesson
def test_every_number_in_prose_is_named_and_lies_in_its_band(path):
    others = {f"{lesson}:{k}": band for lesson, own in BANDS.items() for k, band in own.items()}
    bands = BANDS[path.stem] | others
    found = [
        f"{wrong}: {cell.source[:60]!r}…"
        for cell in until_reading(path)
        for wrong in sorted(faults(cell.source, cell.metadata.get("measured", {}), bands))
    ]
    assert not found, "\n".join(found)
    assert not [cell.source for cell in cells(path) if "measured" in cell.metadata]


@each_lesson
def test_no_phrase_stands_in_for_a_finding(path):
    found = [f"{evasions(c.source)}: {c.source[:60]!r}…" for c in cells(path, "markdown")]
    found = [line for line in found if not line.startswith("[]")]
    assert not found, "\n".join(found)


@each_lesson
def test_tables_have_at_most_four_columns_and_no_empty_cell(path):
    shown = [
        output.get("data", {}).get("text/html", "") for c in cells(path) for output in c.outputs
    ]
    assert [row for html in shown for row in unfit(html)] == []


# The tests above find what they are there for.

TEXT = "With 20 numbers the error is **8.0**, PCA's 18.5; of 1,000 images 84 need $0.1$ `0.2`."
MEASURED = {"8.0": "deep", "18.5": "pca[-1]", "1,000": "setting", "84": "directions"}
MADE_UP = {"deep": [7.5, 8.5], "pca[-1]": [18.48, 18.52], "directions": [83, 85]}


def test_a_true_text_has_no_faults():
    assert faults(TEXT, MEASURED, MADE_UP) == set()


@pytest.mark.parametrize(
    ("text", "measured", "bands", "fault"),
    [
        # The prose changes, and with it what its cell says of it.
        (TEXT.replace("8.0", "9.0"), {"9.0": "deep"}, {}, "9.0: deep lies from 7.5 to 8.5"),
        (TEXT.replace("84", "840"), {}, {}, "84 is not in the text"),
        (TEXT.replace("84", "84.5"), {}, {}, "84.5 is not named"),
        (TEXT.replace("18.5", "−18.5"), {"−18.5": "pca[-1]"}, {}, "−18.5: pca[-1] lies from 18"),
        ("It is small.", {}, {}, "8.0 is not in the text"),
        # The results change.
        (TEXT, {}, {"deep": [6, 7]}, "8.0: deep lies from 6 to 7"),
        (TEXT, {"84": "direction"}, {}, "84: direction has no band"),
        (TEXT, {"18.5": "pca"}, {}, "18.5: pca has no band"),
        # A number that nobody has measured.
        (TEXT + " It takes 3.5 s.", {}, {}, "3.5 is not named"),
        (TEXT + " It takes .5 s.", {}, {}, ".5 is not named"),
        (TEXT + " From 8.0–9.5.", {}, {}, "9.5 is not named"),
        (TEXT + " Keras 3.15.1.", {"3.15.1": "deep"}, {}, "3.15.1 is no number"),
        # A number that stands where no reader reads it.
        (TEXT.replace("84", "`84`"), {}, {}, "84 is not in the text"),
        (TEXT.replace("84", "[x](84.png)"), {}, {}, "84 is not in the text"),
    ],
)
def test_a_fault_of_a_text_is_found(text, measured, bands, fault):
    found = faults(text, MEASURED | measured, MADE_UP | bands)
    assert [wrong for wrong in found if wrong.startswith(fault)], found


def test_numbers_of_code_formulas_addresses_and_sources_are_no_prose():
    text = (
        "![8.5](9.5.png) [a](b-1.5.html) <img width=2.5>\n```\n3.5 `\n```\n$$4.5\n5.5$$ $x = 6.5$ "
        "``7.5`` kept: [10.5](x)\n\n## Further reading\n\n- A (2020). 11.5."
    )
    assert faults(text, {}, {}) == {"10.5 is not named"}


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("Check\nwhether it holds. The last column says so.", ["check whether", "column says"]),
        ("Three arms, one ration, no stranger.", ["arms", "ration", "stranger"]),
        ("Probably. No run tells whether it is so.", ["probably", "tells whether"]),
        ("With FILLED and a todo. TODO", ["FILLED", "TODO"]),
        ("The comparison of harmless operations goes on; see however [2].", []),
    ],
)
def test_a_phrase_is_found_whatever_its_case_and_line(text, phrases):
    assert evasions(text) == phrases


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<table><tr><th>a</th><td style='x'>1</td></tr></table>", []),
        ("<table><tr><td>a</td><td> </td></tr></table>", [["a", ""]]),
        ("<tr><td>1</td><td>2</td><td>3</td><td>4</td><td>5</td></tr>", [list("12345")]),
        ("<p>no table</p>", []),
    ],
)
def test_a_table_with_a_hole_or_too_many_columns_is_found(html, found):
    assert unfit(html) == found
