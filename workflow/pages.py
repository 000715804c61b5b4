"""Build the site with Sphinx: the pages of docs/, the executed lessons, solutions and claims."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS, COMMITTED = Path("docs"), Path("notebooks")  # in the course's folder, where Snakemake runs


def build(pages: Path, site: Path, *, notebooks: list[Path], claims: Path) -> None:
    """Lay out the sources in the folder `pages`, and put the site in place once it is complete.

    Raises
    ------
    SystemExit
        If Sphinx fails or warns; then there is no site.  If one of the folders is not the course's.
    """
    for earlier, mark in ((pages, "conf.py"), (site, ".buildinfo")):
        if earlier.exists():
            if any(earlier.iterdir()) and not (earlier / mark).exists():
                raise SystemExit(f"{earlier} is somebody's own: name another with COURSE_BUILD_DIR")
            shutil.rmtree(earlier)
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("__pycache__"))
    (pages / COMMITTED / "solutions").mkdir(parents=True)
    for path in [*(COMMITTED / "solutions" / n.name for n in notebooks), *COMMITTED.glob("*.png")]:
        shutil.copyfile(path, pages / path)
    for path in notebooks:
        shutil.copyfile(path, pages / COMMITTED / path.name)
    shutil.copyfile(claims, pages / "claims.md")

    site.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.parent, prefix=".site-") as scratch:
        complete, trees = Path(scratch, "html"), Path(scratch, "trees")
        sphinx = [sys.executable, "-m", "sphinx", "-qW", "--keep-going", "-d", trees]
        if subprocess.run([*sphinx, pages, complete]).returncode:
            raise SystemExit(f"The site was not built: Sphinx says above what is wrong in {pages}.")
        complete.rename(site)
    print(f"The site is complete: open {site / 'index.html'}")


if "snakemake" in globals():
    job = globals()["snakemake"]
    lessons = [Path(path) for path in job.input.notebooks]
    index = Path(job.output[0])
    build(Path(job.params.pages), index.parent, notebooks=lessons, claims=Path(job.input.claims))
