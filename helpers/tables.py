"""Tables for Jupyter."""

import re
from collections.abc import Sequence

from IPython.display import HTML
from tabulate import tabulate

# A cell of numbers only, as in "1.2 (0.8 to 1.6)" or "3 of 20".
_NUMBERS = re.compile(r'(<td style="[^"]*)(">(?:[-+−±–·.,()%\d\s]|to|of)+</td>)')


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> HTML:
    """Return rows as an HTML table: numbers flush right, text flush left, no number broken.

    The cells are formatted already, one heading for each column; HTML in them is escaped.
    """
    columns = zip(*rows, strict=True)
    align = ["right" if all(_is_number(cell) for cell in column) else "left" for column in columns]
    text = tabulate(
        rows, headers, tablefmt="html", disable_numparse=True, colalign=align, headersalign=align
    )
    # Left is HTML's default, but not that of Jupyter's style sheet.
    for tag in ("th", "td"):
        text = text.replace(f"<{tag}>", f'<{tag} style="text-align: left;">')
    # Headings may take two lines, a number and its interval stay together.
    return HTML(_NUMBERS.sub(r"\1 white-space: nowrap;\2", text))


def _is_number(cell: object) -> bool:
    text = str(cell).replace(",", "").strip()
    try:
        float(text)
    except ValueError:
        return not text
    return True
