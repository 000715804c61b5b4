"""What is made from what: lessons, claims, the site, and studies of many seeds."""

import os
from pathlib import Path

import yaml
from helpers import parameters

OPTIONS = dict.fromkeys(("quick", "publish"), parameters.choice([True, False]))
OPTIONS |= {"seeds": parameters.integer(1), "first_seed": parameters.integer(0)}
# Snakemake reads numbers, but leaves true and what is in a list as texts.
TRUTHS = {"true": True, "false": False}
VALUES = {name: [yaml.safe_load(str(item)) for item in value] if isinstance(value, list)
          else TRUTHS.get(str(value), value) for name, value in config.items()}
for name in OPTIONS.keys() & VALUES.keys():
    if expected := OPTIONS[name](VALUES[name]):
        raise WorkflowError(f"{name}: expected {expected}, received {config[name]!r}")
GIVEN = {name: value for name, value in VALUES.items() if name not in OPTIONS}
OWN = {name: value for name, value in VALUES.items() if name == "first_seed"}  # of a lesson, too
QUICK, PUBLISH, FIRST = (VALUES.get(name, 0) for name in ("quick", "publish", "first_seed"))
if PUBLISH and len(config) > 1:
    raise WorkflowError("publish: expected the seeds of workflow/study.yaml, and no other option")

BUILD = Path(os.environ.get("COURSE_BUILD_DIR") or "build").expanduser().as_posix()
BUILD += "/quick" * QUICK
try:
    if Path.cwd().is_relative_to(Path(BUILD).resolve()):  # notebooks/ would be replaced
        raise OSError(0, "the course itself lies in it")
    Path(BUILD).mkdir(parents=True, exist_ok=True)
except OSError as error:
    raise WorkflowError(f"{BUILD}: {error.strerror}. Name another folder with COURSE_BUILD_DIR")
RUN = BUILD + "/study/{study}/{dataset}/{seed}"
LESSONS = {path.stem: path for path in sorted(Path("notebooks").glob("[0-9]*.ipynb"))
           if Path("notebooks/solutions", path.name).is_file()}  # a copy of a lesson has none
SMALL = yaml.safe_load(Path("notebooks/quick.yaml").read_text("utf-8")) if QUICK else {}
STUDIES = yaml.safe_load(Path("workflow/study.yaml").read_text("utf-8"))
OF = {study: plan.get("lesson", study) for study, plan in STUDIES.items()}
SEEDS = {k: range(FIRST, FIRST + VALUES.get("seeds", v["seeds"])) for k, v in STUDIES.items()}


def files(folder, pattern):
    """Return the files of a folder."""
    return sorted(path.as_posix() for path in Path(folder).glob(pattern) if path.is_file())


def given(lesson, **own):
    """Return a lesson's parameters; one that it does not have ends the command at once."""
    values = SMALL.get(lesson, {}) | own | GIVEN
    if values:
        import papermill  # takes half a second

        known = papermill.inspect_notebook(str(LESSONS[lesson]))
        if unknown := values.keys() - known.keys():
            names = f"{lesson} has no parameter {', '.join(unknown)}, only {', '.join(known)}"
            raise WorkflowError(f"{names}. For one lesson alone: -- build/results/LESSON.json")
    return values


def data(lesson):
    """Return the data setting, and whether the complete data have come since a run on the sample."""
    setting, run = os.environ.get("COURSE_DATA") or "auto", Path(f"{BUILD}/results/{lesson}.json")
    folder = Path(os.environ.get("COURSE_DATA_DIR") or "data").expanduser()
    sampled = setting == "auto" and run.is_file() and '"source": "sample"' in run.read_text("utf-8")
    return [setting, sampled and bool(files(folder, "*/*.gz"))]


def cores(w):
    """Return all cores for a lesson that takes times, so that nothing runs beside it."""
    return 1 if QUICK or '"timing"' not in LESSONS[w.lesson].read_text("utf-8") else workflow.cores


CODE = [*files("helpers", "*.*"), "requirements.lock"]
wildcard_constraints: lesson="|".join(LESSONS), study="|".join(OF), dataset="[a-z_]+", seed=r"\d+"

rule site:
    input:
        files("docs", "**/*"),
        files("notebooks", "*.png") + expand("notebooks/solutions/{lesson}.ipynb", lesson=LESSONS),
        notebooks=expand(BUILD + "/notebooks/{lesson}.ipynb", lesson=LESSONS),
        claims=BUILD + "/claims.md",
    output: BUILD + "/site/index.html"
    params: pages=BUILD + "/pages", repository=os.environ.get("COURSE_REPOSITORY")
    script: "workflow/pages.py"

rule claims:
    input:
        results=expand(BUILD + "/results/{lesson}.json", lesson=LESSONS),
        executed=expand(BUILD + "/notebooks/{lesson}.ipynb", lesson=LESSONS),
        lessons=[path.as_posix() for path in LESSONS.values()],
    output: BUILD + "/claims.md"
    script: "workflow/claims.py"

rule lesson:
    input: CODE, files("data/reference", "*.json"), notebook="notebooks/{lesson}.ipynb"
    output: notebook=BUILD + "/notebooks/{lesson}.ipynb", results=BUILD + "/results/{lesson}.json"
    log: BUILD + "/log/{lesson}.ipynb"
    params:
        given=lambda w: given(w.lesson, **OWN),
        environment={"COURSE_BUILD_DIR": BUILD},
        data=lambda w: data(w.lesson),
    threads: cores
    script: "workflow/lesson.py"

use rule lesson as seed with:
    input: CODE, notebook="notebooks/{lesson}.ipynb"
    output: notebook=RUN + "/{lesson}.ipynb", results=RUN + "/results/{lesson}.json"
    log: RUN + "/log/{lesson}.ipynb"
    params:
        given=lambda w: given(w.lesson, **STUDIES[w.study]["parameters"])
        | {"dataset": w.dataset, STUDIES[w.study]["seed"]: int(w.seed)},
        environment=lambda w: {"COURSE_BUILD_DIR": RUN.format(**w), "COURSE_DATA": "full"},
    threads: 1

rule study:
    input:
        runs=lambda w: expand(RUN + f"/results/{OF[w.study]}.json", seed=SEEDS[w.study], **w),
        plans="workflow/study.yaml",
    output: BUILD + "/study/{study}/{dataset}.json"
    params: publish=PUBLISH
    script: "workflow/study.py"
