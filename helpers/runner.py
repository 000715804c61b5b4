"""Runs lessons and refreshes notebooks, leaving either all of their results or none.

A lesson runs with a build folder of its own (``COURSE_BUILD_DIR``).  What it left there is moved
to the real one when it has finished.  So a lesson that is interrupted leaves everything as it
was before.  A lesson that fails takes its earlier results with it if its code has changed since,
as they no longer tell what the notebook does; if not, a parameter or the machine is to blame, and
they stay.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat

from helpers import files, normal_form, signals, stamps
from helpers.execution import Execution, execute
from helpers.lessons import Lesson


def run_lesson(
    lesson: Lesson, given: Mapping[str, object], build: Path, *, timeout: float
) -> stamps.Stamp:
    """Run a lesson and keep what it left: notebook, results and stamp.

    Parameters
    ----------
    lesson : Lesson
        The lesson.
    given : mapping
        Values of the parameters that shall not have their defaults.
    build : pathlib.Path
        Folder for everything produced.
    timeout : float
        Seconds after which the lesson is stopped and counts as failed.

    Returns
    -------
    Stamp
        How it went; ``failure`` says what went wrong, if anything.

    Raises
    ------
    SystemExit
        With 128 plus the signal's number after a signal to stop.  Nothing has changed then, unless
        it came while the results were put in their places: then all of them are there.
    """
    inputs = stamps.inputs(lesson, given)
    with files.scratch(build) as folder:
        done = execute(
            lesson.path,
            given,
            {"COURSE_BUILD_DIR": str(folder)},
            timeout=timeout,
            title=lesson.name,
        )
        # A lesson may have downloaded the data it used.
        inputs["data"] = stamps.inputs(lesson, given)["data"]
        stays = bool(done.failure) and _still_true(stamps.load(lesson.name, build), inputs)
        with _uninterrupted():
            if not stays:
                forget(lesson.name, build)
            stamp = stamps.Stamp(
                lesson=lesson.name,
                inputs=inputs,
                parameters=dict(given),
                seconds=round(done.seconds, 1),
                peak_mib=round(done.peak_mib, 1),
                outputs=stamps.outputs(_keep(lesson.name, done, folder, build), build),
                failure=done.failure,
            )
            if not stays:
                stamps.save(stamp, build)
    return stamp


def _still_true(before: stamps.Stamp | None, inputs: Mapping[str, str]) -> bool:
    """Tell whether an earlier run ended well, and was one of the same code."""
    return (
        before is not None
        and not before.failure
        and all(before.inputs.get(name) == inputs[name] for name in ("notebook", "helpers"))
    )


def refresh(path: Path, kept: Path, *, timeout: float) -> list[str]:
    """Execute a notebook on the complete data and write it back in normal form.

    A figure of a cell with the tag ``picture`` is written beside it, for README.md.

    Parameters
    ----------
    path : pathlib.Path
        The notebook.  It changes only if all went well.
    kept : pathlib.Path
        Where the executed notebook goes if not.
    timeout : float
        Seconds after which the notebook is stopped.

    Returns
    -------
    list of str
        What went wrong; empty if the notebook was written.
    """
    kept.unlink(missing_ok=True)
    before = path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as folder:
        environment = {"COURSE_DATA": "full", "COURSE_BUILD_DIR": folder}
        done = execute(path, {}, environment, timeout=timeout, title=path.stem)
    if done.notebook is None:
        return [done.failure]
    notebook = normal_form.normal_form(done.notebook)
    found = [done.failure] if done.failure else normal_form.problems(notebook)
    if path.read_bytes() != before:
        found.append("the notebook was changed while it ran")
    files.write(kept if found else path, normal_form.text(notebook))
    if not found and (picture := normal_form.picture(notebook)):
        files.write(path.with_suffix(".png"), picture)
    return found


def forget(name: str, build: Path) -> None:
    """Remove what earlier runs of a lesson left, its stamp first.

    Its page stays, marked as old, until the next report: until then the index leads to it.
    """
    stamp = stamps.load(name, build)
    stamps.place(name, build).unlink(missing_ok=True)
    usual = [f"notebooks/{name}.ipynb", f"notebooks/{name}.failed.ipynb", f"results/{name}.json"]
    for path in [*usual, *(stamp.outputs if stamp else ())]:
        (build / path).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        os.utime(build / "html" / f"{name}.html", (0, 0))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals to stop wait, for the moment it takes to put files in their places."""
    arrived: list[int] = []
    with signals.answered_by(arrived.append):
        yield
    if arrived:
        raise SystemExit(128 + arrived[0])


def _keep(name: str, done: Execution, folder: Path, build: Path) -> list[Path]:
    """Move what a run left to the build folder and return the new places.

    Of a run that failed only the notebook is kept, under a name that says so.
    """
    kept = []
    if not done.failure:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = build / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            kept.append(path.replace(target))
    if done.notebook is not None:
        ending = ".failed.ipynb" if done.failure else ".ipynb"
        kept.append(build / "notebooks" / f"{name}{ending}")
        files.write(kept[-1], nbformat.writes(done.notebook) + "\n")
    return kept
