"""The site: the pages of this folder around the executed lessons, which are never run here.

It is built without network, and read without one: nothing on a page comes from a server.
"""

import hashlib
import html
import json
import os
import re
from base64 import b64decode
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util.nodes import make_refnode

project = html_title = "Autoencoders, measured"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design", "sphinxcontrib.bibtex"]
bibtex_bibfiles = ["references.bib"]
copybutton_selector = "div.cell_input pre, div.highlight-bash pre, div.highlight-python pre"
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath", "substitution"]
myst_substitutions = {"online": ""}
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # scripts of a server: without a kernel, sliders show their picture
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
html_theme = "sphinx_book_theme"
html_static_path, html_css_files = ["_static"], ["course.css"]
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "extra_footer": "Code and text: MIT licence.",
    "footer_content_items": ["extra-footer"],
    "max_navbar_depth": 1,
    "navbar_persistent": [],  # the search field stands in the sidebar
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_toc_level": 2,
}

# Buttons that lead to a server appear only where the repository's address is known.
repository = os.environ.get("COURSE_REPOSITORY", "")
if repository.startswith("https://github.com/"):
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }
    myst_substitutions["online"] = (
        "**Run a lesson online.** The rocket at the top of a lesson opens it on Binder or in "
        f"Colab. In Colab, first run `!git clone {repository} course && pip install --editable "
        "./course` in a new cell, and restart the session."
    )


def mathml(node, display):
    """Return a formula as MathML, or its source as code where latex2mathml cannot read it."""
    try:
        text = convert(node.astext(), display=display)
        if "\\" in text:
            raise ValueError("a command that latex2mathml does not know")
    except Exception:  # latex2mathml has many, without a common base
        return f"<code>{html.escape(node.astext())}</code>"
    # Browsers do not know how much space belongs around bars and around names as log and max.
    text = re.sub("<mo[^>]*>(&#x0007C;|&#x02016;)</mo>", r'<mo lspace="0" rspace="0">\1</mo>', text)
    return re.sub("<m[io]>([a-zA-Z]{2,})</m[io]>", r'<mo lspace=".1em" rspace=".1em">\1</mo>', text)


def inline(translator, node):
    """Write a formula in a sentence."""
    translator.body.append(mathml(node, "inline"))
    raise nodes.SkipNode


def block(translator, node):
    """Write a formula that stands alone; a wide one can be scrolled, by keyboard, too."""
    translator.body.append(f'<div class="formula" tabindex="0">{mathml(node, "block")}</div>')
    raise nodes.SkipNode


def describe_figures(app, doctree):
    """Give every figure its output's text alternative; MyST-NB names files by their content."""
    path, texts = Path(app.env.doc2path(app.env.docname)), {}
    if path.suffix == ".ipynb":
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                    png = b64decode("".join(output["data"]["image/png"]))
                    texts[hashlib.sha256(png).hexdigest()] = alt
    for image in doctree.findall(nodes.image):
        image["alt"] = image.get("alt") or texts.get(Path(image["uri"]).stem, "")


def link_terms(app, doctree, page):
    """Link the first bold use of each term on a lesson's page to the glossary."""
    found = app.env.domains.standard_domain.get_objects()
    terms = {name.lower(): (to, anchor) for name, _, kind, to, anchor, _ in found if kind == "term"}
    for strong in doctree.findall(nodes.strong) if page.startswith("notebooks/") else ():
        words = strong.astext().lower()
        if place := terms.get(words) or terms.get(words.removesuffix("s")):
            link = make_refnode(app.builder, page, *place, strong.deepcopy())
            strong.parent.replace(strong, link)
            terms = {name: to for name, to in terms.items() if to != place}


def name_folds(app, page, template, context, doctree):
    """Let a screen reader read what a folded cell says; MyST-NB gives all the same name."""
    label = ' aria-label="Toggle hidden content"'
    context["body"] = context.get("body", "").replace(label, "")


def setup(app):
    """Register what is defined above."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("doctree-read", describe_figures)
    app.connect("doctree-resolved", link_terms)
    app.connect("html-page-context", name_folds)
