"""Put a lesson's runs over many seeds together, compare them, and publish them if that is asked."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml
from tabulate import tabulate

from helpers import evaluation, results
from helpers.results import Reference


def collect(runs: Mapping[int, dict], seed_parameter: str) -> Reference:
    """Return the results of some seeds' runs as one.

    Raises
    ------
    ValueError
        If the runs differ in anything but their seed.
    """
    shared = ("dataset", "source", "versions", "parameters")
    heads = {seed: {name: run[name] for name in shared} for seed, run in runs.items()}
    for head in heads.values():
        head["parameters"] = {k: v for k, v in head["parameters"].items() if k != seed_parameter}
    first = next(iter(heads.values()))
    for seed, head in heads.items():
        if head != first:
            raise ValueError(f"seed {seed}: expected a run like the first, {first}, got {head}")
    # What a run has read from an earlier study is no result of its own.
    names = [n for n in next(iter(runs.values()))["numbers"] if not n.startswith("study_")]
    numbers = {name: [_rounded(run["numbers"][name]) for run in runs.values()] for name in names}
    machine = "; ".join(sorted({run["machine"] for run in runs.values()}))
    return Reference(**first, seeds=list(runs), machine=machine, numbers=numbers)


def _rounded(value: float | list) -> float | list:
    if isinstance(value, list):
        # A run has one seed: its lists of one number a seed hold one.
        return _rounded(value[0]) if len(value) == 1 else [_rounded(item) for item in value]
    return float(f"{value:.5g}")


def text(reference: Reference) -> str:
    """Return reference results as the text of their file, a line for each number's name."""
    head = asdict(reference)
    numbers = sorted(head.pop("numbers").items())
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in numbers)
    lines = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{lines},\n "numbers": {{\n{rows}\n }}\n}}\n'


def scores(reference: Reference, plan: Mapping) -> dict[str, np.ndarray]:
    """Return what a study is about: label -> one score a seed."""
    return {label: np.array(reference.numbers[name]) for label, name in plan["scores"].items()}


def summary(reference: Reference, plan: Mapping) -> str:
    """Return a table in Markdown of what the seeds spread over."""
    rows = [
        (label, f"{s.mean():.1f} ± {s.std(ddof=1):.1f}", f"{np.median(s):.1f}",
         f"{s.min():.1f}–{s.max():.1f}")
        for label, s in scores(reference, plan).items()
    ]  # fmt: skip
    title = f"{plan['title']}, {len(reference.seeds)} seeds"
    headers = [title, "mean ± standard deviation", "median", "range"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def against(reference: Reference, other: Reference, plan: Mapping) -> str:
    """Return a table of the means of two sets of seeds, and whether chance explains the gap."""
    ours, theirs = scores(reference, plan), scores(other, plan)
    rows = [
        (label, f"{ours[label].mean():.2f}", f"{theirs[label].mean():.2f}",
         f"{evaluation.p_value(ours[label], theirs[label]):.4f}")
        for label in ours
    ]  # fmt: skip
    return tabulate(rows, ["mean", "these seeds", "published", "p"], disable_numparse=True)


def report(study: str, reference: Reference, published: Reference | None, plan: Mapping) -> str:
    """Return what a study says when it is done: its spread, if it has one, beside the published."""
    if "scores" not in plan or len(reference.seeds) < 2:
        count = f"{len(reference.seeds)} seeds, {reference.dataset}"
        return f"{study}: {count} ({reference.source} data)"
    other = published and published.seeds != reference.seeds
    return summary(reference, plan) + (f"\n{against(reference, published, plan)}" if other else "")


def bands(reference: Reference, plan: Mapping) -> dict[str, list[float]]:
    """Return bands for a lesson of two seeds: what all seeds spanned, and a margin on each side.

    The margin is a quarter of what they spanned, but at least 1 and at most 3 points: machines
    differ in rounding, and a run may fail on one that went well on another.
    """
    found = {}
    for name in plan["scores"].values():
        values = np.array(reference.numbers[name])
        margin = min(max(0.25 * np.ptp(values), 1), 3)
        band = [round(values.min() - margin, 1), round(min(values.max() + margin, 100), 1)]
        found |= {f"{name}[{i}]": band for i in range(2)}
    return found


def publish(lesson: str, reference: Reference, plan: Mapping) -> None:
    """Write the reference file and, of MNIST's scores, the tests' bands and the README's table."""
    contents = {results.reference_path(lesson, reference.dataset): text(reference)}
    if reference.dataset == "mnist" and "scores" in plan:
        path = results.ROOT / "tests" / "expected_results.json"
        expected = json.loads(path.read_text(encoding="utf-8"))
        expected["full"][lesson] |= bands(reference, plan)
        # A band stays on one line.
        pair = re.compile(r"\[\s+([^\[\],]+),\s+([^\[\],]+?)\s+\]")
        contents[path] = pair.sub(r"[\1, \2]", json.dumps(expected, indent=1)) + "\n"
        path = results.ROOT / "README.md"
        contents[path] = with_table(path.read_text(encoding="utf-8"), lesson, reference, plan)
    for path, content in contents.items():  # only when all of them could be made
        results.write(path, content)


def with_table(readme: str, lesson: str, reference: Reference, plan: Mapping) -> str:
    """Return the README's text with the lesson's table between its two marks."""
    marks = re.compile(rf"(<!-- {lesson} -->\n).*?(<!-- end -->)", re.DOTALL)
    table = summary(reference, plan)
    changed, count = marks.subn(lambda found: f"{found[1]}{table}\n{found[2]}", readme)
    if count != 1:
        raise ValueError(f"README.md: expected the marks <!-- {lesson} --> and <!-- end --> once")
    return changed


if "snakemake" in globals():
    job = globals()["snakemake"]
    name, plans = job.wildcards.study, yaml.safe_load(Path(job.input.plans).read_text("utf-8"))
    found = [json.loads(Path(path).read_text("utf-8")) for path in job.input.runs]
    plan, seed = plans[name], plans[name]["seed"]
    study = collect({run["parameters"][seed]: run for run in found}, seed)
    results.write(Path(job.output[0]), text(study))
    print(report(name, study, results.reference(name, study.dataset), plan))
    if job.params.publish:
        publish(name, study, plan)
