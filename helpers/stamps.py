"""What a finished lesson was made from, kept beside it, to tell whether it is up to date.

A stamp is ``<build>/notebooks/<lesson>.json``, written last.  It holds a digest of everything
the lesson depends on and of every file the lesson left, so that a file from another run is
never taken for one of this run.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from helpers import files
from helpers.lessons import Lesson

_PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "scikit-learn",
    "matplotlib",
    "pillow",
    "ipykernel",
)
# No lesson imports these, so a change of them changes no lesson.
_RUNNERS = {
    f"{module}.py"
    for module in (
        "course",
        "execution",
        "lessons",
        "normal_form",
        "report",
        "runner",
        "side_by_side",
        "signals",
        "stamps",
        "study",
    )
}


@dataclass(frozen=True)
class Stamp:
    """How a lesson's last run ended.

    Attributes
    ----------
    lesson : str
        Name of the lesson.
    inputs : dict
        Digests of what the run depended on, by name.
    parameters : dict
        The parameters given; all others had their defaults.
    seconds : float
        Wall time, from the start of the kernel to its end.
    peak_mib : float
        Most memory the kernel and its children held at once, in MiB.
    outputs : dict
        Digests of the files the run left, by path in the build folder.
    failure : str
        What went wrong; empty for a finished lesson.
    finished : str
        When the run ended, ISO 8601, UTC.
    machine : str
        Operating system, processor architecture and number of logical processors.
    """

    lesson: str
    inputs: dict[str, str]
    parameters: dict[str, object]
    seconds: float
    peak_mib: float
    outputs: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    finished: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: str = field(
        default_factory=lambda: (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
        )
    )


def inputs(lesson: Lesson, given: Mapping[str, object]) -> dict[str, str]:
    """Return digests of what a run of a lesson depends on, by name."""
    return {
        "notebook": _digest(lesson.content),
        "helpers": _digest(*_helpers()),
        "parameters": _digest(json.dumps(dict(given), sort_keys=True)),
        "data": _digest(*_data()),
        "versions": _digest(platform.python_version(), *map(_version, _PACKAGES)),
        "reference": _digest(*_references()),
    }


def _helpers() -> list[str]:
    folder = Path(__file__).parent
    sources = [*folder.glob("*.py"), *folder.glob("*.mplstyle")]
    return [
        text
        for path in sorted(sources)
        if path.name not in _RUNNERS
        for text in (path.name, path.read_text(encoding="utf-8"))
    ]


def _data() -> list[str]:
    """Describe which data a lesson would find: the settings and the files that are there."""
    folder = files.ROOT / Path(os.environ.get("COURSE_DATA_DIR") or "data").expanduser()
    found = [*folder.glob("*/*.gz"), *(files.ROOT / "data" / "sample").glob("*.npz")]
    sizes = [f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in sorted(found)]
    return [_setting(), *sizes]


def _setting() -> str:
    return os.environ.get("COURSE_DATA") or "auto"


def _references() -> list[str]:
    """Return what lessons show of earlier studies; a study's own runs are made before these."""
    if "COURSE_STUDY" in os.environ:
        return []
    places = sorted((files.ROOT / "data" / "reference").glob("*.json"))
    return [place.read_text(encoding="utf-8") for place in places]


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} is not installed"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def outputs(paths: list[Path], build: Path) -> dict[str, str]:
    """Return digests of files in the build folder, by their path in it."""
    return {path.relative_to(build).as_posix(): _file_digest(path) for path in paths}


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else "missing"


def place(name: str, build: Path) -> Path:
    """Return where a lesson's stamp lies."""
    return build / "notebooks" / f"{name}.json"


def load(name: str, build: Path) -> Stamp | None:
    """Return a lesson's stamp, or None where there is none that can be read."""
    try:
        stamp = Stamp(**json.loads(place(name, build).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    mappings = (stamp.inputs, stamp.parameters, stamp.outputs)
    return stamp if all(isinstance(mapping, dict) for mapping in mappings) else None


def save(stamp: Stamp, build: Path) -> None:
    """Write a stamp."""
    files.write(place(stamp.lesson, build), json.dumps(asdict(stamp), indent=1) + "\n")


def results(name: str, build: Path) -> dict:
    """Return what a lesson's last run measured; nothing if it failed or its file is another now."""
    stamp = load(name, build)
    if stamp is None or stamp.failure:
        return {}  # without a run that ended well, no file tells what the lesson does
    path = build / "results" / f"{name}.json"
    try:
        if not outputs([path], build).items() <= stamp.outputs.items():
            return {}  # a lesson run by hand, with other parameters, writes to the same place
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fell_back(name: str, build: Path) -> bool:
    """Tell whether a lesson used the sample because the complete data could not be had."""
    return _setting() == "auto" and results(name, build).get("source") == "sample"


def intact(stamp: Stamp, build: Path) -> bool:
    """Tell whether the files a run left are still there and still those of that run."""
    return stamp.outputs == outputs([build / path for path in stamp.outputs], build)


def changed(stamp: Stamp, lesson: Lesson, given: Mapping[str, object], build: Path) -> list[str]:
    """Return the names of what changed since a run; none where it is up to date."""
    now = inputs(lesson, given)
    names = [name for name in now if stamp.inputs.get(name) != now[name]]
    return names if intact(stamp, build) else [*names, "outputs"]
