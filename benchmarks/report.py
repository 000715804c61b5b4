"""The results as a text with tables, and as a figure."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from tabulate import tabulate

from benchmarks.goals import FLOOR
from benchmarks.work import CLASSIFIER, DEEP
from helpers import plotting

_TITLES = {"classifier": CLASSIFIER.name, "deep": DEEP.name}


def text(results: dict) -> str:
    """Return all results as Markdown."""
    parts = [f"{results['machine']['cores']} cores, data: {results['data']}, " + _versions(results)]
    for key, by_way in results["milliseconds_per_step"].items():
        floor = _floor(results, key)
        course = np.median(by_way["course"])
        rows = [
            (
                way,
                f"{np.median(times):.3g}",
                f"{min(times):.3g}–{max(times):.3g}",
                f"{np.median(times) / course:.2f}",
                f"{np.median(times) / floor:.2f}",
                f"{results['peak_mib'][key][way]:.0f}",
                _deviation(results["largest_deviation_of_losses"][key].get(way)),
            )
            for way, times in by_way.items()
        ]
        headers = ["way", "ms a step", "range", "× course", "× floor", "peak MiB", "losses deviate"]
        parts.append(f"{_TITLES[key]}: {results['gflop_per_second'][key]:.0f} GFLOP/s in large "
                     f"products, floor {floor:.3g} ms\n\n{_table(rows, headers)}")  # fmt: skip
    if "full_size" in results:
        parts.append(_sources(results))
    rows = [
        (
            goal["text"],
            f"{goal['limit']:.3g}",
            f"{goal['ratio']:.3g}",
            "met" if goal["met"] else "missed",
            "" if goal["products"] is None else f"{goal['products']:.3g}",
        )
        for goal in results["goals"]
    ]
    parts.append(_table(rows, ["goal", "at most", "measured", "", "a step's products alone"]))
    return "\n\n".join(parts) + "\n"


def _sources(results: dict) -> str:
    trainings = [(name, f"{seconds:.1f}") for name, seconds in results["full_size"].items()]
    total = f"{sum(results['full_size'].values()):.1f}"
    steps, seeds = results["growth_with_steps"], results["growth_with_seeds"]
    slope, fixed = np.polyfit([g["steps"] for g in steps], [g["seconds"] for g in steps], 1)
    growth = [
        *((f"{g['steps']:,} steps", f"{g['seconds']:.2f}", f"{g['peak_mib']:.0f}") for g in steps),
        *((f"{g['seeds']} seeds", f"{g['seconds']:.2f}", f"{g['peak_mib']:.0f}") for g in seeds),
    ]
    shares = [(what, f"{100 * share:.1f}") for what, share in results["evaluation_shares"].items()]
    waits = [
        (name, f"{seconds:.1f}")
        for key in ("seconds_to_first_figure", "seconds_to_import")
        for name, seconds in results[key].items()
    ]
    return "\n\n".join(
        [
            _table([*trainings, ("together", total)], ["training at full size", "seconds"]),
            f"cost of a classifier: {fixed:.1f} s fixed, {1000 * slope:.2f} ms a step\n\n"
            + _table(growth, ["classifier", "seconds", "peak MiB"]),
            _table(shares, ["measured every 100 steps", "added to training (%)"]),
            _table(waits, ["first figure of a lesson; import", "seconds"]),
        ]
    )


def draw(results: dict, path: Path) -> None:
    """Draw milliseconds per step of every way, with the floor as a line."""
    with plt.style.context(plotting.STYLE):
        shown = {
            key: {way: times for way, times in by_way.items() if way not in FLOOR}
            for key, by_way in results["milliseconds_per_step"].items()
        }
        figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True)
        for ax, (key, by_way) in zip(axes, shown.items(), strict=True):
            for place, (way, times) in enumerate(by_way.items()):
                color = "#0072B2" if way.startswith("course") else "#999999"
                ax.barh(place, np.median(times), color=color)
                ax.text(np.median(times) * 1.1, place, f"{np.median(times):.2g}", va="center")
            floor = _floor(results, key)
            ax.axvline(floor, color="#D55E00", linestyle="--")
            ax.set(xscale="log", title=_TITLES[key], xlabel="ms a step (dashed: the arithmetic)")
            ax.set_xlim(floor / 2, 3 * max(np.median(times) for times in by_way.values()))
        axes[0].set_yticks(range(len(by_way)), list(by_way))
        axes[0].invert_yaxis()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        plt.close(figure)


def _floor(results: dict, key: str) -> float:
    times = results["milliseconds_per_step"][key]
    return min(float(np.median(times[way])) for way in FLOOR)


def _versions(results: dict) -> str:
    known = {name: version for name, version in results["packages"].items() if version}
    return ", ".join(f"{name} {version}" for name, version in known.items())


def _deviation(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}"


def _table(rows: list[tuple], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
