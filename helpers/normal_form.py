"""The form in which notebooks are committed, so that two executions differ only in results."""

import base64
import hashlib
import json
import re
import sys
from copy import deepcopy
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.validator import iter_validate

from helpers import files

LIMIT = 1_000_000
"""A committed notebook is smaller than this, in bytes."""

_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# No version number: it would change with every Python.
_LANGUAGE = {"file_extension": ".py", "name": "python"}
_KEPT_METADATA = ("tags", "jupyter", "nbval-reason")
_ADDED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
_WIDGETS = "application/vnd.jupyter.widget-view+json"
_ABSOLUTE = re.compile(
    r"(?<![\w./:~-])/(?:home|root|Users|tmp|var|opt|usr|mnt|srv|private|content|workspace)"
    r"/[^\s'\"<>&]*"
    r"|(?<!\w)[A-Za-z]:\\{1,2}\w[^\s'\"<>&]*"
    r"|file://[^\s'\"<>&]*"
)
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def normal_form(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of an executed notebook without anything that is no result.

    Source cells, tags, attachments and outputs stay.  Execution counts run from 1; kernel and
    language are named without versions; widget state, timings, and the cells and metadata of
    papermill go; output in pieces is joined; cells without an id of their own get one that
    follows from their content.
    """
    notebook = without_widgets(notebook)
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(_KERNEL), language_info=NotebookNode(_LANGUAGE)
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    cells = [cell for cell in notebook.cells if not _ADDED_TAGS & set(_tags(cell))]
    taken: set[str] = set()
    count = 0
    for cell in cells:
        cell.id = _identity(cell, taken)
        taken.add(cell.id)
        cell.metadata = NotebookNode(
            {name: cell.metadata[name] for name in _KEPT_METADATA if cell.metadata.get(name)}
        )
        if cell.cell_type == "code":
            count += bool(cell.source.strip())
            _number(cell, count)
            cell.outputs = _joined(cell.outputs)
    notebook.cells = cells
    return notebook


def without_widgets(notebook: NotebookNode) -> NotebookNode:
    """Return a copy in which every widget has given way to the picture that stands for it.

    A widget without a picture goes altogether: without its kernel it could not answer.
    """
    notebook = deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        widgets = [output for output in outputs if _WIDGETS in output.get("data", {})]
        for widget in widgets:
            del widget.data[_WIDGETS]
            if "image/png" not in widget.data:
                outputs.remove(widget)
    return notebook


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _identity(cell: NotebookNode, taken: set[str]) -> str:
    """Return the cell's id, or one made from its content where it has none or shares it."""
    identity = cell.get("id", "")
    again = 0
    while not re.fullmatch(r"[\w-]{1,64}", identity, re.ASCII) or identity in taken:
        text = f"{cell.cell_type}\0{cell.source}\0{again}"
        identity = hashlib.sha256(text.encode()).hexdigest()[:8]
        again += 1
    return identity


def _number(cell: NotebookNode, count: int) -> None:
    cell.execution_count = count if cell.source.strip() else None
    for output in cell.outputs:
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what was printed in a row, which arrives in pieces of accidental size."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        stream = output.output_type == "stream" and last.get("output_type") == "stream"
        if stream and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def picture(notebook: NotebookNode) -> bytes | None:
    """Return the PNG that the cell with the tag ``picture`` shows, or None if there is no such."""
    for cell in notebook.cells:
        if "picture" in _tags(cell) and (shown := _pictures(cell)):
            return base64.b64decode(shown[0])
    return None


def _pictures(cell: NotebookNode) -> list[str]:
    kinds = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [data["image/png"] for data in kinds if "image/png" in data]


def text(notebook: NotebookNode) -> str:
    """Return a notebook as the text of its file."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def deviations(path: Path) -> list[str]:
    """Return in what a notebook's file differs from its normal form, in sentences."""
    current = path.read_text(encoding="utf-8")
    if error := _error(current):
        return [f"expected a notebook of format 4 ({error})"]
    # v4.reads, as nbformat.reads would repair what is to be found
    notebook = nbformat.v4.reads(current)
    normal = text(normal_form(notebook))
    found = problems(notebook)
    if current != normal:
        pairs = zip_longest(current.splitlines(keepends=True), normal.splitlines(keepends=True))
        number, (received, expected) = next(
            (number, pair) for number, pair in enumerate(pairs, start=1) if pair[0] != pair[1]
        )
        found.append(f"line {number}: expected {expected!r}, received {received!r}")
    return found


def _error(current: str) -> str:
    """Return why a file's text is no notebook of format 4; nothing where it is one."""
    try:
        content = json.loads(current)
    except ValueError as error:
        return str(error)
    # 4.4, as 4.5 asks for the ids that the normal form gives
    errors = iter_validate(content, version=4, version_minor=4, relax_add_props=True)
    return next((str(error).partition("\n")[0] for error in errors), "")


def problems(notebook: NotebookNode) -> list[str]:
    """Return what speaks against committing an executed notebook, in sentences.

    These are output on stderr, errors, absolute paths and memory addresses in outputs, a cell
    with the tag ``picture`` that shows none, and a size of 1 MB or more.
    """
    found = []
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            found += [f"cell {number}: {problem}" for problem in _output_problems(output)]
        if "picture" in _tags(cell) and not _pictures(cell):
            found.append(f"cell {number}: expected a picture, as its tag says, and found none")
    size = len(text(notebook).encode())
    if size >= LIMIT:
        found.append(f"expected less than {LIMIT / 1e6:g} MB, received {size / 1e6:.2f} MB")
    return found


def _output_problems(output: NotebookNode) -> list[str]:
    if output.output_type == "error":
        return [f"{output.ename}: {output.evalue}"]
    if output.output_type == "stream":
        if output.name == "stderr":
            return [f"output on stderr: {output.text.strip()}"]
        texts = [output.text]
    else:
        kinds = output.get("data", {})
        texts = [value for kind, value in kinds.items() if not kind.startswith("image/p")]
    # Embedded images hold every sequence of letters sooner or later.
    shown = "\n".join(re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", str(part)) for part in texts)
    here = [place for place in (str(files.ROOT), sys.prefix) if place in shown]
    paths = [f"absolute path in the output: {p}" for p in _ABSOLUTE.findall(shown) or here]
    addresses = [f"memory address in the output: {part}" for part in _ADDRESS.findall(shown)]
    return paths + addresses
