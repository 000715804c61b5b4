"""Tables, for Jupyter and for a terminal."""

from collections.abc import Sequence

from IPython.display import HTML
from tabulate import tabulate


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> HTML:
    """Return rows as an HTML table: numbers flush right, text flush left.

    Parameters
    ----------
    rows : sequence of sequences
        The cells, already formatted; HTML in them is escaped.
    headers : sequence of str
        One heading for each column.
    """
    columns = zip(*rows, strict=True)
    align = ["right" if all(_is_number(cell) for cell in column) else "left" for column in columns]
    text = tabulate(
        rows, headers, tablefmt="html", disable_numparse=True, colalign=align, headersalign=align
    )
    # Left is HTML's default, but not that of Jupyter's style sheet.
    for tag in ("th", "td"):
        text = text.replace(f"<{tag}>", f'<{tag} style="text-align: left;">')
    return HTML(text)


def plain(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Return rows as a table for a terminal; the cells are formatted already."""
    return tabulate(rows, headers, disable_numparse=True)


def _is_number(cell: object) -> bool:
    text = str(cell).replace(",", "").strip()
    try:
        float(text)
    except ValueError:
        return not text
    return True
