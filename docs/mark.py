"""Run every notebook in submissions/ and print what the checks of its exercises say."""

import os
from pathlib import Path

import nbformat
import yaml
from papermill import execute_notebook

LESSON = "02_basic_autoencoder"

os.environ |= {"COURSE_DATA": "sample", "COURSE_BUILD_DIR": "build/marking"}
small = yaml.safe_load(Path("notebooks/quick.yaml").read_text("utf-8"))[LESSON]
Path("marked").mkdir(exist_ok=True)
for path in sorted(Path("submissions").glob("*.ipynb")):
    marked = Path("marked", path.name)
    try:
        execute_notebook(path, marked, small, cwd="notebooks", progress_bar=False)
    except Exception as error:  # whatever a student's code may raise
        print(path.name, "stopped:", type(error).__name__)
    cells = nbformat.read(marked, as_version=4).cells if marked.exists() else []
    checks = [cell for cell in cells if "exercises.check_" in cell.source]
    for number, cell in enumerate(checks, 1):
        said = "".join(output.get("text", "") for output in cell.get("outputs", []))
        verdict = said.strip().splitlines()[-1:] or ["not reached"]
        print(f"{path.name}  exercise {number}: {verdict[0]}")
