"""How long a lesson's reader waits for the first figure: imports, data, first cells."""

import subprocess
import sys
from time import perf_counter

import nbformat

from helpers.results import ROOT


def seconds_to_first_figure() -> dict[str, float]:
    """Return, for each lesson, the seconds from starting Python to the end of its first figure.

    The cells up to the first call of ``plotting.show`` run as a script, in a new process.
    """
    found = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        first = next(i for i, source in enumerate(cells) if "plotting.show(" in source)
        script = "import matplotlib; matplotlib.use('agg')\n" + "\n\n".join(cells[: first + 1])
        start = perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
        found[path.stem] = perf_counter() - start
    return found


def seconds_to_import() -> dict[str, float]:
    """Return the seconds that Python takes to start and import each of the large packages."""
    found = {}
    for package in ("numpy", "matplotlib.pyplot", "sklearn.decomposition", "helpers.backend"):
        start = perf_counter()
        subprocess.run([sys.executable, "-c", f"import {package}"], check=True, capture_output=True)
        found[package] = perf_counter() - start
    return found
