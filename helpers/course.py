"""The command `course`: list, run, report on and refresh the lessons.

Papermill, nbconvert and the kernel's machinery are imported where they are used: together they
take seconds, and ``course --help`` and ``course list`` need none of them.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import yaml
from click.core import ParameterSource

from helpers import files, lessons, signals, stamps
from helpers.lessons import Lesson

_timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=1800,
    show_default=True,
    metavar="SECONDS",
    help="Stop a notebook that takes longer.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--notebooks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=files.ROOT / "notebooks",
    help="Folder of the lessons, if it is not the course's own.",
)
@click.pass_context
def cli(context: click.Context, notebooks: Path) -> None:
    """List, run, report on and refresh the lessons of the course.

    A LESSON is named by its number (3), its name (03_deep_autoencoder), or the beginning of
    its name (03_d, deep). Everything produced goes to build/, or to the folder that
    COURSE_BUILD_DIR names.
    """
    context.obj = notebooks


@cli.command(name="list")
@click.argument("wanted", metavar="[LESSON]...", nargs=-1)
@click.option("-l", "--long", is_flag=True, help="Show the parameters, too.")
@click.pass_obj
def list_lessons(folder: Path, wanted: Sequence[str], long: bool) -> None:
    """Show the lessons, their parameters (-l), and which are done."""
    build = files.build_dir()
    chosen = _choose(folder, wanted)
    width = max((len(lesson.name) for lesson in chosen), default=0)
    fell_back = []
    for lesson in chosen:
        state = _state(lesson, build)
        if state == "done" and stamps.fell_back(lesson.name, build):
            fell_back.append(lesson.name)
            state = "done (sample)"
        click.echo(f"{lesson.name:<{width}}  {state:<24}  {lesson.title}")
        if long:
            for parameter in lesson.parameters.values():
                line = f"{parameter.name}: {parameter.kind} = {parameter.default!r}"
                click.echo(f"    {line:<36}  {parameter.meaning}")
    _tell_of_the_sample(fell_back)


def _state(lesson: Lesson, build: Path) -> str:
    """Describe the last full-size run of a lesson, in a few words."""
    stamp = stamps.load(lesson.name, build)
    if stamp is None:
        return "not run"
    if stamp.failure:
        return "failed"
    changed = stamps.changed(stamp, lesson, {}, build)
    return f"changed: {', '.join(changed)}" if changed else "done"


@cli.command(short_help="Run lessons and write the report.")
@click.argument("wanted", metavar="[LESSON]...", nargs=-1)
@click.option("--quick", is_flag=True, help="Small parameters from quick.yaml, into build/quick/.")
@click.option(
    "-p",
    "--parameter",
    "texts",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a parameter of the lessons named; may be given several times.",
)
@click.option("--force", is_flag=True, help="Run also what is up to date.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Lessons side by side.",
)
@click.option("--no-report", is_flag=True, help="Write no pages.")
@_timeout_option
@click.pass_obj
def run(
    folder: Path,
    wanted: Sequence[str],
    quick: bool,
    texts: Sequence[tuple[str, str]],
    force: bool,
    jobs: int,
    no_report: bool,
    timeout: float,
) -> None:
    """Run lessons, each in a fresh kernel, and write the report.

    Without a LESSON all of them are run. A finished lesson is not run again unless its
    notebook, the helpers, its parameters, the data, the reference results, Python, TensorFlow or
    another main package have changed. If it had to use the sample because the complete data could
    not be had, --force tries these again.

    Lessons that show how long something takes run first and alone; the others run side by side.
    With --quick, where no figure means anything, all of them do.

    \b
    Examples:
      course run
      course run 3 -p epochs 5 -p hidden 512,128
      course run --quick --force

    Exit code: 0 if all is well, 1 if a lesson failed (one beside it is stopped, the next ones are
    not run), 2 if the command is wrong (nothing is run), 128 plus the number of a signal
    that stopped it (130 for Ctrl-C).
    """  # noqa: D301 (click wants the character \b)
    chosen = _choose(folder, wanted)
    with _usage_errors():
        given = _given(folder, chosen, texts, quick=quick)
    build = _build(quick)
    beside = [lesson for lesson in chosen if quick or not lesson.takes_times]
    if jobs == 1 or len(beside) < 2:
        beside = []
    width = max((len(lesson.name) for lesson in lessons.find(folder)), default=0)
    finished: list[str] = []

    def show(lesson: Lesson, stamp: stamps.Stamp, state: str) -> None:
        if not stamp.failure:
            finished.append(lesson.name)
        click.echo(
            f"{lesson.name:<{width}}  {state:<10}  {stamp.seconds:7.1f} s"
            f"  {stamp.peak_mib:6.0f} MiB"
        )

    def to_run(those: Sequence[Lesson]) -> Iterator[Lesson]:
        """Yield the lessons that are not up to date, and show those that are."""
        for lesson in those:
            stamp = None if force else _up_to_date(lesson, given[lesson.name], build)
            if stamp is None:
                yield lesson
            else:
                show(lesson, stamp, "up to date")

    failed = False
    for lesson in to_run([lesson for lesson in chosen if lesson not in beside]):
        stamp = _run_one(lesson, given[lesson.name], build, timeout)
        failed = bool(stamp.failure)
        show(lesson, stamp, "failed" if failed else "done")
        if failed:
            kept = build / "notebooks" / f"{lesson.name}.failed.ipynb"
            _show_failure([stamp.failure], kept)
            break
    if beside and not failed:
        command = ["--notebooks", str(folder.absolute()), "run", "--force", "--no-report"]
        command += ["--timeout", str(timeout), *["--quick"] * quick]
        command += [part for text in texts for part in ("-p", *text)]
        waiting = {lesson.name: lesson for lesson in to_run(beside)}
        failed = not _run_beside(
            {name: [*command, name] for name in waiting},
            jobs,
            lambda name: show(waiting[name], stamps.load(name, build), "done"),
        )
    _tell_of_the_sample([name for name in finished if stamps.fell_back(name, build)])
    if not no_report:
        click.echo(f"report: {_short(_write_report(folder, build, quick=quick))}")
    if failed:
        sys.exit(1)


@cli.command(short_help="Write the report again.")
@click.option("--quick", is_flag=True, help="Report on build/quick/.")
@click.pass_obj
def report(folder: Path, quick: bool) -> None:
    """Render all executed lessons again, and the page of results over them."""
    path = _write_report(folder, _build(quick), quick=quick, again=True)
    click.echo(f"report: {_short(path)}")


@cli.command(short_help="Repeat lesson 5 over many seeds.")
@click.option(
    "--dataset", type=click.Choice(["mnist", "fashion_mnist"]), default="mnist", show_default=True
)
@click.option("--seeds", type=click.IntRange(2), default=20, show_default=True, help="How many.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Side by side.")
@click.option("--publish", is_flag=True, help="Write data/reference/, the README's table, bands.")
@click.pass_context
def study(
    context: click.Context, dataset: str, seeds: int, first_seed: int, jobs: int, publish: bool
) -> None:
    """Run lesson 5 at full size, seed by seed, and put the results together.

    Each run is kept in build/study/, so that a study that was stopped goes on where it stopped.
    Results for other seeds than the published ones are compared with these by a permutation
    test, arm by arm.
    """
    from helpers import reference
    from helpers import study as runs

    if context.parent.get_parameter_source("notebooks") is not ParameterSource.DEFAULT:
        raise click.UsageError("--notebooks: a study repeats the course's own lesson 5, no other")
    numbers = range(first_seed, first_seed + seeds)
    try:
        published = reference.load(dataset)
        if publish and published and not set(published.seeds) <= set(numbers):
            raise click.UsageError(
                f"--publish: expected at least the {len(published.seeds)} seeds that are "
                f"published, {published.seeds[0]} to {published.seeds[-1]}, received "
                f"{first_seed} to {numbers[-1]}; remove data/reference/{dataset}.json to begin "
                "anew"
            )
        runs.run(dataset, numbers, jobs=jobs, tell=click.echo)
        found = runs.collect(dataset, numbers)
        click.echo(runs.summary(found))
        if published and not set(published.seeds) & set(numbers):
            click.echo(runs.against(found, published))
        for path in runs.publish(found) if publish else ():
            click.echo(f"written: {_short(path)}")
    except (RuntimeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


@cli.command(short_help="Execute the notebooks of the repository in place.")
@click.argument("wanted", metavar="[LESSON]...", nargs=-1)
@click.option("--check", is_flag=True, help="Only tell which notebooks are not in normal form.")
@_timeout_option
@click.pass_obj
def refresh(folder: Path, wanted: Sequence[str], check: bool, timeout: float) -> None:
    """Execute the notebooks of the repository in place, on the complete data.

    Each lesson, and the notebook in solutions/ with the same number, is executed with its own
    parameters and written back in normal form (see helpers/normal_form.py) if there was no
    error, no output on stderr and no absolute path in an output. Otherwise the notebook stays as
    it was, the executed one is kept in build/refresh/, and the command ends with exit code 1.
    Nothing else in build/ changes: results come from `course run`.
    """
    chosen = _choose(folder, wanted)
    solutions = sorted((folder / "solutions").glob("*.ipynb"))
    numbers = {lesson.name.partition("_")[0] for lesson in chosen}
    paths = [lesson.path for lesson in chosen] + [
        path for path in solutions if not wanted or path.stem.partition("_")[0] in numbers
    ]
    shown = {path: path.relative_to(folder).as_posix() for path in paths}
    width = max(map(len, shown.values()), default=0)
    bad = 0
    for path in paths:
        kept = files.build_dir() / "refresh" / shown[path]
        found = _check(path) if check else _refresh_one(path, kept, timeout)
        bad += bool(found)
        good, refused = (
            ("in normal form", "not in normal form") if check else ("refreshed", "refused")
        )
        click.echo(f"{shown[path]:<{width}}  {refused if found else good}")
        if found:
            _show_failure(found, None if check else kept)
            if not check:
                break
    if bad:
        sys.exit(1)


def _choose(folder: Path, wanted: Sequence[str]) -> list[Lesson]:
    with _usage_errors():
        return lessons.select(lessons.find(folder), wanted)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn a refused value into a message and exit code 2."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _given(
    folder: Path, chosen: Sequence[Lesson], texts: Sequence[tuple[str, str]], *, quick: bool
) -> dict[str, dict[str, object]]:
    """Return the parameters for each lesson: those of quick.yaml, then those of ``-p``."""
    sections = _quick_sections(folder) if quick else {}
    given = {}
    for lesson in chosen:
        values = {}
        for name, value in sections.get(lesson.name, {}).items():
            try:
                values[name] = lessons.checked(lessons.known(lesson, name), value)
            except ValueError as error:
                raise ValueError(f"quick.yaml: {error}") from error
        for name, text in texts:
            values[name] = lessons.from_text(lessons.known(lesson, name), text)
        given[lesson.name] = values
    return given


def _quick_sections(folder: Path) -> dict[str, dict[str, object]]:
    """Read quick.yaml: a section for each lesson, name and value of a parameter a line."""
    try:
        sections = yaml.safe_load((folder / "quick.yaml").read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(
            f"quick.yaml: expected small parameters for each lesson ({error})"
        ) from error
    if not isinstance(sections, dict):
        raise ValueError(f"quick.yaml: expected a section for each lesson, received {sections!r}")
    valid = [lesson.name for lesson in lessons.find(folder)]
    for name, section in sections.items():
        if name not in valid or not isinstance(section, dict | None):
            raise ValueError(
                f"quick.yaml: expected sections named after lessons ({', '.join(valid)}) with a "
                f"parameter a line, received {name}: {section!r}"
            )
    return {name: section or {} for name, section in sections.items()}


def _build(quick: bool) -> Path:
    return files.build_dir() / "quick" if quick else files.build_dir()


def _up_to_date(lesson: Lesson, given: dict[str, object], build: Path) -> stamps.Stamp | None:
    stamp = stamps.load(lesson.name, build)
    done = stamp is not None and not stamp.failure
    return stamp if done and not stamps.changed(stamp, lesson, given, build) else None


def _tell_of_the_sample(names: Sequence[str]) -> None:
    if names:
        click.echo(
            f"from the sample, as the complete data could not be had: {', '.join(names)}; "
            "`course run --force` tries the complete data again"
        )


def _run_one(lesson: Lesson, given: dict[str, object], build: Path, timeout: float) -> stamps.Stamp:
    from helpers import runner

    try:
        return runner.run_lesson(lesson, given, build, timeout=timeout)
    except SystemExit:
        _say_stopped(f"{lesson.name}  stopped; finished lessons are kept")
        raise


def _run_beside(commands: dict[str, list[str]], jobs: int, done: Callable[[str], None]) -> bool:
    """Run lessons side by side, each by a command of its own; return whether all went well."""
    from helpers import side_by_side

    if commands:
        click.echo(f"side by side: {', '.join(commands)}")
    calls = [side_by_side.Call(name, arguments) for name, arguments in commands.items()]
    try:
        side_by_side.run(calls, jobs=jobs, ended=lambda call, _: done(call.name))
    except side_by_side.CallFailed as failure:
        click.echo(str(failure), err=True)
        return False
    except SystemExit:
        _say_stopped("stopped; finished lessons are kept")
        raise
    return True


def _say_stopped(message: str) -> None:
    with suppress(OSError):  # the terminal may be what was closed
        click.echo(message, err=True)


def _write_report(folder: Path, build: Path, *, quick: bool, again: bool = False) -> Path:
    from helpers import report as pages

    with _usage_errors():
        found = lessons.find(folder)
    return pages.write(found, build, quick=quick, again=again)


def _refresh_one(path: Path, kept: Path, timeout: float) -> list[str]:
    from helpers import runner

    return runner.refresh(path, kept, timeout=timeout)


def _check(path: Path) -> list[str]:
    from helpers import normal_form

    return normal_form.deviations(path)


def _show_failure(messages: Sequence[str], kept: Path | None) -> None:
    for message in messages:
        click.echo("    " + message.replace("\n", "\n    "), err=True)
    if kept is not None and kept.is_file():
        click.echo(f"    kept for reading: {_short(kept)}", err=True)


def _short(path: Path) -> str:
    """Return a path relative to the working directory where it lies below."""
    here, path = Path.cwd(), Path(os.path.abspath(path))
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def main() -> None:
    """Run the command line; a signal to stop ends it with 128 plus its number."""
    signals.leave()
    cli()


if __name__ == "__main__":
    main()
