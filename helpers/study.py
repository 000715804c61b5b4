"""The study behind lesson 5's reference results: the lesson once a seed, then all put together.

Each run is an ordinary ``course run`` with a build folder of its own, which keeps what it left and
tells whether it is up to date.  So a study that was interrupted goes on where it stopped.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import permutation_test

from helpers import files, reference, side_by_side, stamps, tables
from helpers.reference import Reference
from helpers.side_by_side import Call

LESSON = "05_comparison"
ARMS = ("normal", "pretrained", "shuffled", "He", "Glorot")
_OWN = ("first_seed", "n_seeds")


def folder(dataset: str, seed: int) -> Path:
    """Return the build folder of one run."""
    return files.build_dir() / "study" / dataset / f"seed_{seed:03d}"


def run(dataset: str, seeds: Sequence[int], *, jobs: int, tell: Callable[[str], None]) -> None:
    """Run the lesson on the complete data once for each seed, what is up to date excepted.

    Parameters
    ----------
    dataset : str
        Name of the data set.
    seeds : sequence of int
        The seeds, one run each.
    jobs : int
        Runs side by side.
    tell : callable
        Called with a line for each run that ended.

    Raises
    ------
    side_by_side.CallFailed
        If a run failed; the others that had begun are stopped.
    """
    calls = []
    for seed in seeds:
        given = {"dataset": dataset, "first_seed": seed, "n_seeds": 1, "wide": True}
        options = [part for name, value in given.items() for part in ("-p", name, str(value))]
        environment = {
            "COURSE_DATA": "full",
            "COURSE_STUDY": "1",  # see stamps.py
            "COURSE_BUILD_DIR": str(folder(dataset, seed)),
        }
        calls.append(Call(f"seed {seed}", ["run", LESSON, *options], environment))
    side_by_side.run(
        calls, jobs=jobs, ended=lambda call, said: tell(f"{call.name:<8}  {said.splitlines()[0]}")
    )


def collect(dataset: str, seeds: Sequence[int]) -> Reference:
    """Put the results of a study's runs together.

    Raises
    ------
    ValueError
        If runs differ in anything but their seed.
    OSError
        If a run has not left its results.
    """
    found = [
        json.loads((folder(dataset, seed) / "results" / f"{LESSON}.json").read_text("utf-8"))
        for seed in seeds
    ]
    parts = [_common(result) for result in found]
    for seed, part in zip(seeds, parts, strict=True):
        if part != parts[0]:
            raise ValueError(f"seed {seed}: expected a run like the first, {parts[0]}, got {part}")
    stamp = stamps.load(LESSON, folder(dataset, seeds[0]))
    return Reference(
        **parts[0],
        seeds=list(seeds),
        machine=stamp.machine if stamp else "",
        numbers={
            # A run has one seed: its lists hold one number.
            name: [_rounded(_single(result["numbers"][name])) for result in found]
            for name in found[0]["numbers"]
        },
    )


def _common(result: Mapping) -> dict:
    parameters = {name: v for name, v in result["parameters"].items() if name not in _OWN}
    kept = {name: result[name] for name in ("dataset", "source", "versions")}
    return {**kept, "parameters": parameters}


def _single(value: float | list) -> float | list:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _rounded(value: float | list) -> float | list:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}")


def summary(study: Reference) -> str:
    """Return what became of each kind of start, as text."""
    rows = [
        (arm, f"{s.mean():.2f}", f"{s.std(ddof=1):.2f}", f"{np.median(s):.2f}",
         f"{s.min():.1f}", f"{s.max():.1f}", int((s < 20).sum()))
        for arm, s in _scores(study).items()
    ]  # fmt: skip
    headers = [
        "test accuracy (%)",
        "mean",
        "standard deviation",
        "median",
        "least",
        "most",
        "stuck",
    ]
    return tables.plain(rows, headers)


def against(study: Reference, other: Reference) -> str:
    """Return the p-values of a permutation test between two sets of runs, arm by arm."""
    ours, theirs = _scores(study), _scores(other)
    rows = [
        (arm, f"{ours[arm].mean():.2f}", f"{theirs[arm].mean():.2f}",
         _shown(p_value(ours[arm], theirs[arm])))
        for arm in ARMS
    ]  # fmt: skip
    return tables.plain(rows, ["mean (%)", "these seeds", "published", "p"])


def _shown(p: float) -> str:
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def p_value(one: np.ndarray, other: np.ndarray) -> float:
    """Return the p-value of a two-sided permutation test for the difference of two means."""
    result = permutation_test(
        (one, other),
        lambda a, b, axis: np.abs(np.mean(a, axis) - np.mean(b, axis)),
        alternative="greater",
        vectorized=True,
        rng=0,
    )
    return float(result.pvalue)


def _scores(study: Reference) -> dict[str, np.ndarray]:
    return {arm: 100 * np.array(study.numbers[f"test_accuracy_{arm}"]) for arm in ARMS}


def bands(study: Reference) -> dict[str, list[float]]:
    """Return bands for the lesson's numbers: what the runs spanned, and a margin on each side.

    The margin is a quarter of what they spanned, but at least 0.01 and at most 0.03.
    """
    found = {}
    for arm in ARMS:
        values = np.array(study.numbers[f"test_accuracy_{arm}"])
        # Machines differ in rounding, and a run may fail on one that went well on another.
        # Not wider than what a stuck run of another class, or a better one, could need.
        margin = min(max(0.25 * np.ptp(values), 0.01), 0.03)
        low, high = values.min() - margin, min(values.max() + margin, 1)
        found |= {
            f"test_accuracy_{arm}[{i}]": [round(float(low), 3), round(float(high), 3)]
            for i in range(3)
        }
    return found


def publish(study: Reference) -> list[Path]:
    """Write the reference file, the bands of the tests and the README's table; return the files."""
    contents = {reference.path(study.dataset): reference.text(study)}
    if study.dataset == "mnist" and study.source == "full":
        expected = files.ROOT / "tests" / "expected_results.json"
        content = json.loads(expected.read_text(encoding="utf-8"))
        content["full"][LESSON] |= bands(study)
        # A band stays on one line.
        text = re.sub(
            r"\[\s+([^\[\],]+),\s+([^\[\],]+?)\s+\]", r"[\1, \2]", json.dumps(content, indent=1)
        )
        contents[expected] = text + "\n"
        readme = files.ROOT / "README.md"
        contents[readme] = with_table(readme.read_text(encoding="utf-8"), study)
    for place, content in contents.items():  # only when all of them could be made
        files.write(place, content)
    return list(contents)


def _steps_to_90(study: Reference, arm: str) -> str:
    median = np.median(study.numbers[f"steps_to_90_{arm}"])  # never: one more than all
    return f"{median:,.0f}" if median <= study.parameters["steps"] else "never"


def _mean_of_others(scores: np.ndarray) -> str:
    learned = scores[scores >= 20]
    return f"{learned.mean():.1f}" if len(learned) else ""


_TABLE = re.compile(r"(<!-- study -->\n).*?(<!-- end of study -->)", re.DOTALL)


def with_table(readme: str, study: Reference) -> str:
    """Return the README's text with the study's table between its two marks.

    Raises
    ------
    ValueError
        If the marks are not there.
    """
    rows = [
        f"| {arm} | {s.mean():.1f} ± {s.std(ddof=1):.1f} | {np.median(s):.1f} | "
        f"{s.min():.1f}–{s.max():.1f} | {(s < 20).sum()} | {_mean_of_others(s)} | "
        f"{_steps_to_90(study, arm)} |"
        for arm, s in _scores(study).items()
    ]
    head = [
        f"| test accuracy (%), {len(study.seeds)} seeds | mean ± standard deviation | median "
        "| range | stuck | mean of the others | steps to 90 %, median |",
        "|---|---|---|---|---|---|---|",
    ]
    table = "\n".join([*head, *rows]) + "\n"
    text, count = _TABLE.subn(lambda marks: marks[1] + table + marks[2], readme)
    if count != 1:
        raise ValueError("README.md: expected one pair of the marks <!-- study -->")
    return text
