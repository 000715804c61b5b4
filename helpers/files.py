"""Files that are either complete or not there, and the folders they go to."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build_dir() -> Path:
    """Return the folder for everything the course produces.

    It is ``build/`` in the course's folder, or what the environment variable
    ``COURSE_BUILD_DIR`` names; a relative path there counts from the course's folder.
    """
    return ROOT / Path(os.environ.get("COURSE_BUILD_DIR") or "build").expanduser()


@contextmanager
def scratch(build: Path) -> Iterator[Path]:
    """Make a folder inside the build folder and remove it with all it holds.

    A command that runs others gives them a folder of its own to do so in (``COURSE_SCRATCH_DIR``):
    what they leave there when they are killed goes with it.
    """
    place = Path(os.environ.get("COURSE_SCRATCH_DIR") or build).resolve()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=".running-", dir=place, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def write(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it when it is complete.

    A crash, a full disk or an interrupt leaves the old file, or none, and never half of one.
    Missing parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    data = content.encode() if isinstance(content, str) else content
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
