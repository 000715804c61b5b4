"""``python -m benchmarks``: measure, then write table, figure and JSON to build/benchmarks/."""

import json
import math
import os
import platform
from dataclasses import asdict
from importlib import metadata

import click
import numpy as np

from benchmarks import goals, report, start_up
from benchmarks.measure import Timing, alone, available, measure
from benchmarks.work import CLASSIFIER, DEEP
from helpers import datasets
from helpers.results import build_dir, write

PACKAGES = ("tensorflow", "keras", "numpy", "torch", "jax", "jaxlib", "optax")
# Rounding differs between the ways, and narrow rectified layers double a difference every few
# steps: only the first steps can tell whether the work is the same.
AGREEMENT_STEPS = 20
AGREEMENT = 1e-4


@click.command()
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Interleaved rounds of each way.",
)
@click.option("--ways-only", is_flag=True, help="Leave out what trains at full size (minutes).")
def main(rounds: int, ways_only: bool) -> None:
    """Time the course's loop beside every other way one would write it."""
    source = datasets.load("mnist").source
    if source != "full" and not ways_only:
        raise click.UsageError("training at full size needs the complete data; or: --ways-only")
    ways = available()
    timings = {
        key: measure(work, ways, rounds=rounds, steps=steps, slow_steps=100)
        for key, work, steps in (("classifier", CLASSIFIER, 1000), ("deep", DEEP, 100))
    }
    medians = {
        key: {name: timing.median for name, timing in by_way.items()}
        for key, by_way in timings.items()
    }
    reached = goals.of_ways(medians)
    deviations = {key: _deviations(by_way) for key, by_way in timings.items()}
    results = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": _cores()},
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "data": source,
        "gflop_per_second": {
            key: max(work.flops() / medians[key][way] / 1e6 for way in goals.FLOOR)
            for key, work in (("classifier", CLASSIFIER), ("deep", DEEP))
        },
        "milliseconds_per_step": {
            key: {name: timing.milliseconds for name, timing in by_way.items()}
            for key, by_way in timings.items()
        },
        "peak_mib": {
            key: {name: timing.peak_mib for name, timing in by_way.items()}
            for key, by_way in timings.items()
        },
        # JSON has no NaN.
        "largest_deviation_of_losses": {
            key: {name: value if math.isfinite(value) else None for name, value in by_way.items()}
            for key, by_way in deviations.items()
        },
    }
    if not ways_only:
        from benchmarks.sources import FUNCTIONS

        for name, function in FUNCTIONS.items():
            click.echo(name.replace("_", " "), err=True)
            results[name] = alone(function)
        results["seconds_to_first_figure"] = start_up.seconds_to_first_figure()
        results["seconds_to_import"] = start_up.seconds_to_import()
        reached += goals.of_sources(
            results["full_size"],
            results["eager_slices"],
            medians,
            max(results["evaluation_shares"].values()),
        )
    results["goals"] = [asdict(goal) | {"met": goal.met} for goal in reached]
    folder = build_dir() / "benchmarks"
    write(folder / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    text = report.text(results)
    write(folder / "results.md", text)
    report.draw(results, folder / "ratios.png")
    click.echo(text)
    wrong = {
        f"{key}, {name}": deviation
        for key, by_way in deviations.items()
        for name, deviation in by_way.items()
        if not deviation < AGREEMENT
    }
    if wrong:
        raise SystemExit(f"not the same work: losses deviate from the eager tape's by {wrong}")


def _deviations(timings: dict[str, Timing]) -> dict[str, float]:
    """Return how far each way's first losses lie from the eager tape's, relatively.

    A way that gives only a mean is held against the mean of the course's losses.
    """
    eager = timings["eager tape"].losses
    course = timings["course"].losses
    found = {}
    for name, timing in timings.items():
        losses = timing.losses
        if len(losses) == 1:
            found[name] = float(abs(losses[0] / course.mean() - 1))
        elif len(losses):
            ratio = losses[:AGREEMENT_STEPS] / eager[:AGREEMENT_STEPS]
            found[name] = float(np.abs(ratio - 1).max())
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
