"""Execute the committed notebooks again on the complete data, and keep them in normal form."""

import base64
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from lesson import execute
from nbformat import NotebookNode

KEPT = {"tags", "nbval-reason", "measured"}
WIDGET = "application/vnd.jupyter.widget-view+json"


def normal_form(notebook: NotebookNode) -> NotebookNode:
    """Return an executed notebook without timings, versions, and widgets that nobody answers."""
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    language = {"file_extension": ".py", "name": "python"}
    notebook.metadata = NotebookNode(kernelspec=kernel, language_info=language)
    for cell in notebook.cells:
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in KEPT and v})
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)  # the figure beside it stays
    return notebook


def refresh(path: Path) -> None:
    """Execute a notebook in place; where it fails, the file stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        execute(path, copy, {})
        notebook = normal_form(nbformat.read(copy, as_version=4))
    nbformat.write(notebook, path)
    for cell in notebook.cells:
        if "picture" in cell.metadata.get("tags", []):  # the README shows it, too
            shown = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
            path.with_suffix(".png").write_bytes(base64.b64decode(shown[0]))
    print(f"{path} is executed", file=sys.stderr)


if __name__ == "__main__":
    os.environ["COURSE_DATA"] = "full"
    solutions = Path("notebooks", "solutions")
    found = sorted(Path("notebooks").glob("[0-9]*.ipynb"))
    lessons = [path for path in found if (solutions / path.name).is_file()]  # a copy has none
    lessons += [solutions / path.name for path in lessons]
    for path in [Path(name) for name in sys.argv[1:]] or lessons:
        refresh(path)
