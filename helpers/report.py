"""The lessons as HTML and one page over them: what was claimed and what was measured.

Everything can be read without a network.  nbconvert's own pages load MathJax and other scripts
from servers, and JupyterLab holds MathJax only in a form that cannot be used alone; so formulas
are turned into MathML, which every browser shows by itself (Chrome since version 109).
"""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from helpers import files, normal_form, stamps
from helpers.lessons import Lesson

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Row:
    """A lesson in the report."""

    name: str
    title: str
    page: str
    stamp: stamps.Stamp | None
    results: dict
    marks: dict[str, str]

    @property
    def number(self) -> str:
        return self.name.partition("_")[0]

    @property
    def failure(self) -> str:
        return self.stamp.failure if self.stamp else ""

    @property
    def finished(self) -> bool:
        return self.stamp is not None and not self.stamp.failure

    @property
    def seconds(self) -> str:
        return f"{self.stamp.seconds:.1f}" if self.stamp else ""

    @property
    def peak(self) -> str:
        return f"{self.stamp.peak_mib:.0f} MiB" if self.stamp else ""


def write(lessons: Sequence[Lesson], build: Path, *, quick: bool, again: bool = False) -> Path:
    """Write a page for every lesson that was run, and ``index.html`` over them.

    Parameters
    ----------
    lessons : sequence of Lesson
        All lessons, run or not.
    build : pathlib.Path
        Folder with the executed notebooks, their stamps and results.
    quick : bool
        Whether these are runs with small parameters, which the page then says.
    again : bool
        Render also those lessons whose page is newer than their notebook.

    Returns
    -------
    pathlib.Path
        ``index.html``.
    """
    rows = [_row(lesson, build, again=again) for lesson in lessons]
    claims = [
        {"number": row.number, "page": row.page, "marks": row.marks, **claim}
        for row in rows
        for claim in row.results.get("claims", [])
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("index.html.j2").render(
        rows=rows,
        claims=claims,
        marked=any(row.marks for row in rows),
        data_used=_data_used(rows),
        machine=_machine(rows),
        quick=quick,
    )
    path = build / "index.html"
    files.write(path, page + "\n")
    return path


def _row(lesson: Lesson, build: Path, *, again: bool) -> _Row:
    stamp = stamps.load(lesson.name, build)
    results = stamps.results(lesson.name, build)
    marks = _marks(lesson, stamp, results, build) if stamp else {}
    page = _page(lesson, stamp, build, again=again) if stamp else ""
    return _Row(lesson.name, lesson.title, page, stamp, results, marks)


def _marks(lesson: Lesson, stamp: stamps.Stamp, results: dict, build: Path) -> dict[str, str]:
    """Return why a lesson's numbers are not those the course speaks of, briefly and in full."""
    marks = {"sample": "sample"} if results.get("source") == "sample" else {}
    used = {**stamp.parameters, **results.get("parameters", {})}
    others = [
        f"{name} = {_shown(used[name])}, not {_shown(parameter.default)}"
        for name, parameter in lesson.parameters.items()
        if name in used and used[name] != parameter.default
    ]
    if others:
        marks["other parameters"] = "; ".join(others)
    changed = stamps.changed(stamp, lesson, stamp.parameters, build)
    if changed:
        marks["out of date"] = f"out of date: {', '.join(changed)} changed since"
    return marks


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _data_used(rows: Sequence[_Row]) -> str:
    """Name the data the numbers come from, and the lessons that used only the sample."""
    used = {row.number: row.results["source"] for row in rows if "source" in row.results}
    sample = [number for number, source in used.items() if source == "sample"]
    if not used:
        return "No lesson has left results yet."
    if len(sample) == len(used):
        return "Measured on the small sample of the data sets."
    beside = f", in lesson {', '.join(sample)} on the small sample of them" if sample else ""
    return f"Measured on the complete data sets{beside}."


def _machine(rows: Sequence[_Row]) -> str:
    """Describe where and when the lessons ran, as far as they agree."""
    done = [row.stamp for row in rows if row.stamp]
    if not done:
        return ""
    days = sorted({stamp.finished[:10] for stamp in done})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    versions = {
        f"{name} {number}"
        for row in rows
        for name, number in row.results.get("versions", {}).items()
    }
    parts = [when, *sorted({stamp.machine for stamp in done}), *sorted(versions)]
    return " · ".join(parts)


def _page(lesson: Lesson, stamp: stamps.Stamp, build: Path, *, again: bool) -> str:
    """Render a lesson where needed and return its address, relative to the index."""
    ending = ".failed.ipynb" if stamp.failure else ".ipynb"
    notebook = build / "notebooks" / f"{lesson.name}{ending}"
    page = build / "html" / f"{lesson.name}.html"
    if not notebook.is_file():
        page.unlink(missing_ok=True)
        return ""
    sources = [notebook, Path(__file__), _TEMPLATES / "lesson.html.j2"]
    fresh = page.is_file() and all(
        page.stat().st_mtime > source.stat().st_mtime for source in sources
    )
    if again or not fresh:
        files.write(page, render(notebook, lesson.title, lesson.path.parent))
    return page.relative_to(build).as_posix()


def render(notebook: Path, title: str, folder: Path) -> str:
    """Return an executed notebook as an HTML page that needs no other file and no network.

    Parameters
    ----------
    notebook : pathlib.Path
        The notebook with its outputs.
    title : str
        Title of the page.
    folder : pathlib.Path
        Where pictures named in the text are found.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return mathml(body, block=True)

        def inline_math(self, body: str) -> str:
            return mathml(body)

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)

    class Exporter(HTMLExporter):
        @jinja2.pass_context
        def markdown2html(self, context: jinja2.runtime.Context, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            renderer = Renderer(
                escape=False,
                attachments=attachments,
                embed_images=True,
                path=str(folder),
                exclude_anchor_links=True,
            )
            return MarkdownWithMath(renderer=renderer).render(source)

    # The metadata of nbconvert's resources decide the title.
    resources = {"metadata": {"name": title, "path": str(folder)}}
    template = (_TEMPLATES / "lesson.html.j2").read_text(encoding="utf-8")
    exporter = Exporter(raw_template=template)
    exporter.register_filter("mathml", lambda source: mathml(source, block=True))
    # Widgets would need scripts from a server, and a kernel to answer.
    content = normal_form.without_widgets(nbformat.read(notebook, as_version=4))
    return exporter.from_notebook_node(content, resources=resources)[0]


def mathml(formula: str, *, block: bool = False) -> str:
    r"""Return a LaTeX formula as MathML, or as its source where it cannot be translated.

    Parameters
    ----------
    formula : str
        The formula, with or without its ``$``.
    block : bool
        Whether it stands in a line of its own.
    """
    from latex2mathml.converter import convert

    bare = re.sub(r"^\s*\$+|\$+\s*$", "", formula).strip()
    try:
        return convert(bare, display="block" if block else "inline")
    except Exception:  # of the library's own many kinds; a formula never costs a page
        return f"<code>{html.escape(bare)}</code>"
