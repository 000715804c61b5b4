"""What a lesson measured, kept as JSON for the report and the tests."""

import json
import math
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from IPython.display import HTML

from helpers import files, tables

_STARTED = time.monotonic()
_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Claim:
    """One claim of the course: what was said, what was measured, what follows.

    Attributes
    ----------
    claim : str
        The claim, as a sentence.
    reported : str
        What its source reported; empty where the claim is the course's own.
    measured : str
        What this run measured, with units.
    verdict : str
        What follows from the numbers, in a few words.  Computed, never typed in.
    """

    claim: str
    reported: str
    measured: str
    verdict: str


def table(claims: list[Claim]) -> HTML:
    """Return the claims as a table for Jupyter."""
    rows = [(c.claim, c.reported or "—", c.measured, c.verdict) for c in claims]
    headers = ["claim", "reported", "measured here", "verdict"]
    return tables.table(rows, headers)


def save(
    lesson: str,
    *,
    parameters: dict[str, object],
    dataset: str,
    source: str,
    numbers: dict[str, float | list[float]],
    claims: list[Claim],
) -> Path:
    """Write a lesson's results to ``build/results/<lesson>.json``.

    Parameters
    ----------
    lesson : str
        Name of the notebook without its ending.
    parameters : dict
        The parameters of this run.
    dataset, source : str
        Name of the data set, and ``"full"`` or ``"sample"``.
    numbers : dict
        Every number the lesson states, by name: floats or lists of floats.
    claims : list of Claim
        The rows of the lesson's summary table.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    ValueError
        If a number is not finite: a result that is no number is a failure, not a result.
    """
    numbers = {name: _plain(name, value) for name, value in numbers.items()}
    content = {
        "lesson": lesson,
        "dataset": dataset,
        "source": source,
        "parameters": parameters,
        "numbers": numbers,
        "claims": [asdict(claim) for claim in claims],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "seconds": round(time.monotonic() - _STARTED, 1),
    }
    path = files.build_dir() / "results" / f"{lesson}.json"
    files.write(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _plain(name: str, value: object) -> float | list:
    """Turn NumPy numbers and arrays into what JSON knows, refusing NaN and infinity."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"number {name}: expected a finite number, received {value}")
    return value
