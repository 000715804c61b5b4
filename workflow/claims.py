"""Write every lesson's claims, and what its run took, as one page of the site."""

import ast
import html
import json
from pathlib import Path

import nbformat


def page(results: list[Path], executed: list[Path], lessons: list[Path]) -> str:
    """Return the page in MyST Markdown."""
    runs = [json.loads(path.read_text("utf-8")) for path in results]
    marks = [_marks(*pair) for pair in zip(runs, executed, lessons, strict=True)]
    text = (
        "# Claims\n\nWhat was reported, what this run measured, and what follows. Verdicts are "
        "computed from the numbers by rules that the lessons state.\n"
    )
    for run, lesson, mark in zip(runs, lessons, marks, strict=True):
        text += f"\n## {_link(run, _title(lesson))}\n\n{mark}"
        text += _row("claim", "reported", "measured here", "verdict") + _row(*["---"] * 4)
        for c in run["claims"]:
            text += _row(c["claim"], c["reported"], c["measured"], f"**{c['verdict']}**")
    text += "\n## The run\n\n" + _row("lesson", "data", "seconds", "peak memory", "machine")
    text += _row(*["---"] * 5)
    for run in runs:
        data = f"{run['dataset']}, {'complete' if run['source'] == 'full' else 'sample'}"
        took = f"{run['seconds']:.0f}", f"{run['peak_mib']} MiB"
        text += _row(_link(run, run["lesson"]), data, *took, run["machine"])
    versions = {f"{name} {number}" for run in runs for name, number in run["versions"].items()}
    return text + f"\nVersions: {', '.join(sorted(versions))}.\n"


def _marks(run: dict, executed: Path, lesson: Path) -> str:
    """Return, as a note, why a run's numbers are not those that the lesson speaks of."""
    marks = ["from the **sample**"] if run["source"] == "sample" else []
    lines = ast.parse(_code(lesson, tag="parameters")[0]).body
    defaults = {line.target.id: ast.literal_eval(line.value) for line in lines}
    others = [
        f"{name} = {value}, not {defaults.get(name)}"
        for name, value in run["parameters"].items()
        if value != defaults.get(name)
    ]
    if others:
        marks.append(f"with **other parameters** ({html.escape('; '.join(others))})")
    injected = _code(executed, tag="injected-parameters")
    if [code for code in _code(executed) if code not in injected] != _code(lesson):
        marks.append("by an **older state** of the lesson")
    return f":::{{note}}\nMeasured {', '.join(marks)}.\n:::\n\n" if marks else ""


def _code(path: Path, tag: str = "") -> list[str]:
    """Return the code cells, or those with a tag."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return [c.source for c in cells if not tag or tag in c.metadata.get("tags", [])]


def _title(lesson: Path) -> str:
    return nbformat.read(lesson, as_version=4).cells[0].source.splitlines()[0].lstrip("# ")


def _link(run: dict, text: str) -> str:
    return f"[{text}](notebooks/{run['lesson']}.ipynb)"


def _row(*cells: object) -> str:
    shown = (html.escape(str(cell or "—"), quote=False).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(shown) + " |\n"


if "snakemake" in globals():
    job = globals()["snakemake"]
    folders = job.input.results, job.input.executed, job.input.lessons
    text = page(*([Path(path) for path in paths] for paths in folders))
    Path(job.output[0]).write_text(text, encoding="utf-8")
