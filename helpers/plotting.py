"""Figures of arrays: what draws returns the Axes it drew on, or the Figure of several panels."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ipywidgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import LogLocator

STYLE = Path(__file__).with_name("course.mplstyle")
"""The course's style sheet, for ``plt.style.use``."""

mpl.rcdefaults()  # a reader's own matplotlibrc may ask for what is not there, LaTeX or a font

_LINES = ["-", "--", "-.", ":"]  # to tell curves apart without colour


def show(drawn: Axes | Figure, alt: str) -> None:
    """Show a figure, given as itself or as any of its Axes, and close it.

    ``alt`` is what a screen reader reads, what stands for missing pictures, what nbval compares.
    """
    _publish(_png(drawn), alt)


def _png(drawn: Axes | Figure) -> bytes:
    """Return a figure, or the figure of Axes, as a PNG, and close it."""
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    png = io.BytesIO()
    figure.savefig(png, format="png", pil_kwargs={"optimize": True})
    plt.close(figure)
    return png.getvalue()


def _publish(png: bytes, alt: str, other_forms: Mapping[str, object] | None = None) -> None:
    if not get_ipython():  # a lesson as a script: display would print the bytes
        print(alt)
        return
    forms = {"image/png": png, "text/plain": alt, **(other_forms or {})}
    display(forms, metadata={"image/png": {"alt": alt}}, raw=True)


def explore(
    drawn: Axes | Figure,
    alt: str,
    draw: Callable[..., np.ndarray],
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Show a figure as `show` does and, where widgets are alive, sliders that change a picture.

    Both are one output in two forms, of which a notebook with a kernel takes the sliders, and
    everything else the figure.

    ``ranges`` has the lowest and the highest value of each slider, which starts in the middle;
    ``draw`` takes one float for each, and returns grey values from 0 to 1, shape [height, width].
    """
    still = _png(drawn)
    sliders = [
        ipywidgets.FloatSlider(
            value=(low + high) / 2, min=low, max=high, step=(high - low) / 100, description=name
        )
        for name, (low, high) in ranges.items()
    ]
    live = ipywidgets.Image(width=224, height=224)

    def update(_change: object = None) -> None:
        pixels, png = draw(*[slider.value for slider in sliders]), io.BytesIO()
        # Enlarged here: browsers would smooth the pixels.
        plt.imsave(png, np.kron(pixels, np.ones([8, 8])), cmap="gray", vmin=0, vmax=1)
        live.value = png.getvalue()

    for slider in sliders:
        slider.style.description_width = "initial"  # else long names are cut off
        slider.observe(update, "value")
    update()
    source = f"data:image/png;base64,{base64.b64encode(still).decode()}"
    figure = ipywidgets.HTML(f'<img alt="{html.escape(alt)}" src="{source}">')
    box = ipywidgets.HBox([figure, ipywidgets.VBox([*sliders, live])])
    widget = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    _publish(still, alt, {"application/vnd.jupyter.widget-view+json": widget})


def tile(images: np.ndarray, columns: int, *, gap: int = 0) -> np.ndarray:
    """Arrange images, shape [n, 784] or [n, height, width], row by row, from left to right.

    ``gap`` pixels between neighbours are NaN, drawn as nothing, as is what n images leave of the
    last row.  Returns float64, shape [rows * (height + gap) - gap, columns * (width + gap) - gap].
    """
    grey = np.reshape(images, [-1, 28, 28]) if images.ndim == 2 else images
    padding = [(0, -len(grey) % columns), (0, gap), (0, gap)]
    cells = np.pad(grey.astype(np.float64), padding, constant_values=np.nan)
    rows = cells.reshape(-1, columns, *cells.shape[1:])
    return np.vstack([np.hstack(row) for row in rows])[: -gap or None, : -gap or None]


def picture(
    pixels: np.ndarray,
    *,
    title: str = "",
    limits: tuple[float, float] = (0, 1),
    cmap: str = "gray",
    ax: Axes | None = None,
) -> Axes:
    """Draw one picture, shape [height, width], without axes, from black to white at the limits."""
    if ax is None:
        height, width = pixels.shape
        ax = plt.subplots(figsize=(8, min(8, 8 * height / width + 0.3 * bool(title))))[1]
    ax.imshow(pixels, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.set_title(title)
    ax.set_axis_off()
    return ax


def above_below(rows: Mapping[str, np.ndarray]) -> Figure:
    """Draw rows of images, each of shape [n, 784], grey from 0 to 1, its name at the left."""
    count = max(map(len, rows.values()))
    size = (8.5, len(rows) * 8 / count + 0.15)
    figure, axes = plt.subplots(len(rows), 1, figsize=size, squeeze=False)
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        picture(tile(images, count, gap=2), ax=ax)
        ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center")
    return figure


def filters(kinds: Mapping[str, np.ndarray]) -> Figure:
    """Draw weights as small pictures, a panel for each kind, blue for and red against.

    A kind has shape [n, 784], one filter a row, and each is scaled by its own largest weight.
    """
    figure, axes = plt.subplots(1, len(kinds), figsize=(4.25 * len(kinds), 4.6), squeeze=False)
    for ax, (title, rows) in zip(axes[0], kinds.items(), strict=True):
        largest = np.abs(rows).max(axis=1, keepdims=True)
        scaled = rows / np.where(largest > 0, largest, 1)
        picture(tile(scaled, 5, gap=2), title=title, limits=(-1, 1), cmap="RdBu", ax=ax)
    return figure


def curves(
    x: np.ndarray,
    ys: Mapping[str, np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    ylim: tuple[float | None, float | None] | None = None,
    log: bool = False,
    log_x: bool = False,
    colors: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one or more curves, label -> shape [m], over the same x, for example steps, shape [m].

    ``ylim`` says where the y axis begins and ends; None in place of a number lets the curves
    decide.  ``log`` and ``log_x`` make an axis logarithmic, the x axis with a tick at each x.
    """
    ax = ax or plt.subplots(figsize=(6.5, 3.4))[1]
    x = np.asarray(x)
    for i, (label, y) in enumerate(ys.items()):
        ax.plot(x, y, _LINES[i % len(_LINES)], color=colors[i] if colors else None, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        if high < 100 * low:  # powers of ten alone would be too few
            subs = (2, 3, 4, 5, 7) if high < 10 * low else (2, 3, 5, 7)
            ax.yaxis.set_minor_locator(LogLocator(subs=subs))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("{x:g}")
    if log_x:
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{value:,}" for value in x])
        ax.minorticks_off()
    elif np.issubdtype(x.dtype, np.integer):
        ax.xaxis.get_major_locator().set_params(integer=True)
    if ylim:
        ax.set_ylim(ylim)
    if len(ys) > 1:
        ax.legend(**({"loc": "center left", "bbox_to_anchor": (1, 0.5)} if len(ys) > 6 else {}))
    return ax


def numbers_kept(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Axes:
    """Draw the course's one figure: squared error per image against how many numbers are kept.

    ``curves`` is label -> numbers kept, shape [m], and the error with as many.  One error each,
    shape [m], makes a line; several runs, shape [n_runs, m], make a line through their means and a
    dot for each run.
    """
    ax = plt.subplots(figsize=(6.5, 4))[1]
    markers = dict(zip(curves, "ox^sDvP*", strict=False))
    for i, (label, (kept, errors)) in enumerate(curves.items()):
        runs, color = np.atleast_2d(errors), "black" if i == 0 else f"C{i - 1}"
        line, marker = _LINES[i % len(_LINES)], markers[label] if len(runs) > 1 else ""
        ax.plot(kept, runs.mean(axis=0), line, color=color, marker=marker, mfc="none", label=label)
        if len(runs) > 1:
            ax.plot(kept, runs.T, ls="", marker=marker, mfc="none", ms=4, color=color)
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    ax.set(xscale="log", yscale="log", xlim=(0.9, 800), ylim=(0.9, 80))
    ax.set_xticks(ticks, map(str, ticks))
    ax.set_yticks(ticks[:6], map(str, ticks[:6]))
    ax.minorticks_off()
    ax.set(xlabel="numbers kept for an image", ylabel="squared error per image")
    ax.legend()
    return ax


def code_map(
    codes: np.ndarray,
    labels: np.ndarray,
    images: np.ndarray | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw codes, shape [n, 2], as points, coloured by class, and some of them as their images.

    The number of each class stands at the median of its codes.  Labels, shape [n], are at most ten
    classes; the images, shape [n, 784], grey from 0 to 1 and drawn in their class's colour, keep
    them apart where colours cannot.
    """
    ax = ax or plt.subplots(figsize=(6.8, 6.8))[1]
    colors = plt.get_cmap("tab10")
    # In random order no class covers all others.
    order = np.random.default_rng(0).permutation(len(codes))
    ax.scatter(*codes[order].T, s=5, c=colors(labels[order] % 10), linewidths=0, alpha=0.6)
    low, high = np.quantile(codes, [0.005, 0.995], axis=0)
    (left, bottom), (right, top) = low - 0.05 * (high - low), high + 0.05 * (high - low)
    ax.set(xlim=(left, right), xlabel="first number of the code")
    ax.set(ylim=(bottom, top), ylabel="second number of the code")
    places, drawn = (codes - low) / (high - low), np.empty((0, 2))
    for i in order if images is not None else []:
        nearest = np.abs(drawn - places[i]).max(axis=1).min(initial=1)
        if nearest > 0.055 and places[i].min() >= 0 and places[i].max() <= 1:
            drawn = np.vstack([drawn, places[i]])
            ink = np.full([28, 28, 4], colors(labels[i] % 10))
            ink[..., 3] = images[i].reshape(28, 28)  # where there is no ink it is transparent
            ax.add_artist(AnnotationBbox(OffsetImage(ink, zoom=0.9), codes[i], frameon=False))
    for label in np.unique(labels):
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": colors(label % 10)}
        middle = np.median(codes[labels == label], axis=0)
        ax.text(*middle, str(label), ha="center", va="center", weight="bold", bbox=box)
    return ax


def code_maps(kinds: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Draw codes of several kinds, each of shape [n, 2], as `code_map` does, side by side."""
    figure, axes = plt.subplots(1, len(kinds), figsize=(4.4 * len(kinds), 4.4), squeeze=False)
    for ax, (kind, codes) in zip(axes[0], kinds.items(), strict=True):
        code_map(codes, labels, ax=ax).set_title(kind)
    return figure


def plane(
    draw: Callable[[float, float], np.ndarray], ranges: Mapping[str, tuple[float, float]]
) -> Axes:
    """Draw pictures that belong to the points of an even grid of 12 by 12, each at its point.

    ``draw`` takes a point's two coordinates, and returns grey values from 0 to 1, shape
    [height, width].  ``ranges`` names the axis across and the axis upwards, and says where on each
    the grid begins and ends.
    """
    ax = plt.subplots(figsize=(4.6, 4.6))[1]
    across, up = (np.linspace(low, high, 12) for low, high in ranges.values())
    pictures = np.array([draw(x, y) for y in up[::-1] for x in across])
    half = [(points[1] - points[0]) / 2 for points in (across, up)]
    edges = [across[0] - half[0], across[-1] + half[0], up[0] - half[1], up[-1] + half[1]]
    ax.imshow(tile(pictures, 12), cmap="gray", vmin=0, vmax=1, extent=edges, aspect="auto")
    xlabel, ylabel = ranges
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(False)
    return ax


def network(sizes: Sequence[int], names: Mapping[int, str]) -> Axes:
    """Draw a network as one bar for each layer, its height growing with the layer's size.

    The sizes are numbers of units from the input to the output; ``names`` gives, for a position
    among them, the name to write under that bar.
    """
    ax = plt.subplots(figsize=(min(8.5, 1.5 + 1.1 * len(sizes)), 2.6))[1]
    # Square roots keep 5 units visible beside 784.
    heights = np.sqrt(sizes) / np.sqrt(max(sizes))
    for i, (size, height) in enumerate(zip(sizes, heights, strict=True)):
        ax.bar(i, height, width=0.28, bottom=-height / 2, color="#0072B2", zorder=2)
        ax.text(i, height / 2 + 0.04, str(size), ha="center", va="bottom")
        ax.text(i, -0.58, names.get(i, ""), ha="center", va="top")
        if i:
            left, right = heights[i - 1] / 2, height / 2
            corners = [(i - 0.86, left), (i - 0.14, right), (i - 0.14, -right), (i - 0.86, -left)]
            ax.add_patch(plt.Polygon(corners, color="#cfe3f1", zorder=1))
    ax.set(xlim=(-0.5, len(sizes) - 0.5), ylim=(-0.85, 0.7))
    ax.set_axis_off()
    return ax


def runs(
    x: np.ndarray,
    ys: Mapping[str, np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    ylim: tuple[float | None, float | None] | None = None,
) -> Figure:
    """Draw the curves of many runs, kind -> shape [n_runs, m], a panel for each kind.

    The median is a thick line; all else is as in `curves`.
    """
    columns = min(len(ys), 3)
    rows = -(-len(ys) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3 * columns, 2.6 * rows), sharex=True, sharey=True, squeeze=False
    )
    for place, (ax, (kind, all_runs)) in enumerate(zip(axes.flat, ys.items(), strict=False)):
        color = f"C{place}"
        for run in all_runs:
            ax.plot(x, run, color=color, linewidth=0.7, alpha=0.6)
        ax.plot(x, np.median(all_runs, axis=0), color=color, linewidth=2)
        ax.set_title(kind)
        ax.locator_params(axis="x", nbins=4)
    for ax in axes.flat[len(ys) :]:
        figure.delaxes(ax)
    for ax in figure.axes[-columns:]:  # the lowest of each column
        ax.set_xlabel(xlabel)
        ax.tick_params(labelbottom=True)
    if ylim:
        axes[0, 0].set_ylim(ylim)  # and so all others
    figure.supylabel(ylabel, fontsize="medium")
    return figure


def dots(ys: Mapping[str, np.ndarray], *, ylabel: str, split: float) -> Axes:
    """Draw every run of each kind, shape [n_runs], as a dot, on a y axis that has a gap.

    Runs below ``split``, if any, have a small panel of their own, under that of the others.
    """
    together = np.concatenate(list(ys.values()))
    parts = [shown for shown in (together >= split, together < split) if shown.any()]
    form = {"figsize": (7.5, 3.8), "height_ratios": [3, 1][: len(parts)], "squeeze": False}
    axes = plt.subplots(len(parts), sharex=True, **form)[1][:, 0]
    for ax, shown in zip(axes, parts, strict=True):
        for place, numbers in enumerate(ys.values()):
            beside = place + np.linspace(-0.2, 0.2, len(numbers)) if len(numbers) > 1 else place
            ax.plot(beside, numbers, "o", color=f"C{place}", markersize=4, alpha=0.7)
        low, high = together[shown].min(), together[shown].max()
        room = max(1, (high - low) / 10)
        ax.set(xlim=(-0.5, len(ys) - 0.5), ylim=(low - room, high + room))
        ax.yaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel(ylabel)
    axes[-1].set_xticks(range(len(ys)), list(ys))
    return axes[-1]
