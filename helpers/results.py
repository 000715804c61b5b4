"""What a lesson measured, as JSON: for the page of claims, the tests, and later lessons."""

import json
import math
import os
import platform
import secrets
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from IPython.display import HTML

from helpers import tables

ROOT = Path(__file__).resolve().parent.parent
"""The course's folder."""

_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Claim:
    """One claim of the course: what was said, what was measured, what follows."""

    claim: str  # a sentence
    reported: str  # by its source; empty where the claim is the course's own
    measured: str  # in this run, with units
    verdict: str  # in a few words, computed from the numbers


def table(claims: Iterable[Claim]) -> HTML:
    """Return the claims as a table for Jupyter."""
    rows = [(c.claim, c.reported or "—", c.measured, c.verdict) for c in claims]
    return tables.table(rows, ["claim", "reported", "measured here", "verdict"])


def build_dir() -> Path:
    """Return the folder for everything the course produces.

    It is ``build/``, or what ``COURSE_BUILD_DIR`` names: relative to the course's folder.
    """
    return ROOT / Path(os.environ.get("COURSE_BUILD_DIR") or "build").expanduser()


def save(
    lesson: str,
    *,
    parameters: dict[str, object],
    dataset: str,
    source: str,
    numbers: dict[str, float | list[float]],
    claims: Iterable[Claim],
) -> Path:
    """Write a lesson's results to ``build/results/<lesson>.json`` and return that path.

    Beside what is handed in (``source`` is ``"full"`` or ``"sample"``; ``numbers`` has every number
    the lesson states), the file names the versions and the machine, the seconds since the kernel
    started, and the most memory it has held.

    Raises
    ------
    ValueError
        If a number is not finite: a result that is no number is a failure, not a result.
    """
    content = {
        "lesson": lesson,
        "dataset": dataset,
        "source": source,
        "parameters": parameters,
        "numbers": {name: _plain(name, value) for name, value in numbers.items()},
        "claims": [asdict(claim) for claim in claims],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "seconds": round(time.time() - psutil.Process().create_time(), 1),
        "peak_mib": round(_peak_bytes() / 2**20),
    }
    path = build_dir() / "results" / f"{lesson}.json"
    write(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
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


def _peak_bytes() -> int:
    """Return the most memory this process has held at once, as the operating system knows it."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def write(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it when it is complete.

    A crash, a full disk or an interrupt leaves the old file, or none, and never half of one.
    Missing parent folders are made.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror}). Name a folder that can be, with the "
            "environment variable COURSE_BUILD_DIR"
        ) from error
    finally:
        with suppress(OSError):  # it has become the file, or was never made
            part.unlink()


@dataclass(frozen=True)
class Reference:
    """What a study measured: a lesson once for each of many seeds (``workflow/study.py``)."""

    dataset: str
    source: str  # "full" or "sample"
    seeds: list[int]
    parameters: dict[str, object]  # the same for all runs
    versions: dict[str, str]
    machine: str
    numbers: dict[str, list]  # an entry a seed, in order


def reference(lesson: str, dataset: str) -> Reference | None:
    """Return a lesson's reference results on a data set, or None; damaged they are a ValueError."""
    path = reference_path(lesson, dataset)
    if not path.is_file():
        return None
    try:
        return Reference(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path.name}: expected reference results as workflow/study.py writes them ({error}). "
            "Restore them with: git checkout -- data/reference"
        ) from error


def reference_path(lesson: str, dataset: str) -> Path:
    """Return where the reference results of a lesson on a data set lie."""
    return ROOT / "data" / "reference" / f"{lesson}_{dataset}.json"
