"""Figures of arrays.  Every function takes ``ax=None``, draws, and returns the Axes."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

STYLE = Path(__file__).with_name("course.mplstyle")
"""The course's style sheet, for ``plt.style.use``."""

_LINES = ["-", "--", "-.", ":"]  # to tell curves apart without colour


def show(drawn: Axes | Figure, alt: str) -> None:
    """Show a figure with a text alternative, and close it.

    The text is what a screen reader reads, what stands for the figure where no pictures are
    shown, and what nbval compares.

    Parameters
    ----------
    drawn : Axes or Figure
        The figure, or any of its Axes.
    alt : str
        What the figure shows, in a sentence.
    """
    display(
        {"image/png": _png(drawn), "text/plain": alt},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


def _png(drawn: Axes | Figure) -> bytes:
    """Return a figure, or the figure of Axes, as a PNG, and close it."""
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    png = io.BytesIO()
    figure.savefig(png, format="png")
    plt.close(figure)
    return png.getvalue()


def explore(
    drawn: Axes | Figure,
    alt: str,
    draw: Callable[..., np.ndarray],
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Show a figure as `show` does and, where widgets are alive, sliders that change a picture.

    Both are one output in two forms, and the reader's program takes the richest it knows: a
    notebook with a kernel the sliders, everything else the figure.  A notebook in normal form
    keeps the figure only.

    Parameters
    ----------
    drawn, alt
        The figure and its text alternative, as in `show`.
    draw : callable
        Takes one float for each slider, returns grey values from 0 to 1, shape [height, width].
    ranges : mapping of str to pair of float
        Name of each slider -> its lowest and highest value; it starts in the middle.
    """
    still = _png(drawn)
    sliders = [
        ipywidgets.FloatSlider(
            value=(low + high) / 2,
            min=low,
            max=high,
            step=(high - low) / 100,
            description=name,
            style={"description_width": "initial"},  # else long names are cut off
        )
        for name, (low, high) in ranges.items()
    ]
    picture = ipywidgets.Image(width=224, height=224)

    def update(_change: object = None) -> None:
        pixels, png = draw(*[slider.value for slider in sliders]), io.BytesIO()
        # Enlarged here: browsers would smooth the pixels.
        plt.imsave(png, np.kron(pixels, np.ones([8, 8])), cmap="gray", vmin=0, vmax=1)
        picture.value = png.getvalue()

    for slider in sliders:
        slider.observe(update, "value")
    update()
    source = f"data:image/png;base64,{base64.b64encode(still).decode()}"
    figure = ipywidgets.HTML(f'<img alt="{html.escape(alt)}" src="{source}">')
    box = ipywidgets.HBox([figure, ipywidgets.VBox([*sliders, picture])])
    widget = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    display(
        {
            "image/png": still,
            "text/plain": alt,
            "application/vnd.jupyter.widget-view+json": widget,
        },
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


def tile(
    images: np.ndarray, columns: int, *, height: int = 28, width: int = 28, gap: int = 0
) -> np.ndarray:
    """Arrange images in rows, left to right and top to bottom.

    Parameters
    ----------
    images : numpy.ndarray, shape [n, height * width] or [n, height, width]
        Grey values; n need not fill the last row.
    columns : int
        Images a row.
    height, width : int
        Size of one image, in pixels.
    gap : int
        Pixels left blank (NaN, which is drawn as nothing) between neighbours.

    Returns
    -------
    numpy.ndarray, shape [rows * (height + gap) - gap, columns * (width + gap) - gap]
    """
    rows = -(-len(images) // columns)
    cells = np.full([rows * columns, height + gap, width + gap], np.nan)
    cells[: len(images), :height, :width] = np.reshape(images, [-1, height, width])
    grid = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    whole = grid.reshape(rows * (height + gap), columns * (width + gap))
    return whole[: whole.shape[0] - gap, : whole.shape[1] - gap]


def picture(
    pixels: np.ndarray,
    *,
    title: str = "",
    limits: tuple[float, float] = (0, 1),
    cmap: str = "gray",
    ax: Axes | None = None,
) -> Axes:
    """Draw one picture without axes.

    Parameters
    ----------
    pixels : numpy.ndarray, shape [height, width]
        Grey values.
    title : str
        What stands above it.
    limits : pair of float
        The values drawn as the darkest and the lightest colour.
    cmap : str
        Matplotlib colour map.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        height, width = pixels.shape
        ax = plt.subplots(figsize=(8, min(8, 8 * height / width + 0.3 * bool(title))))[1]
    ax.imshow(pixels, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.set_title(title)
    ax.set_axis_off()
    return ax


def named_grid(images: np.ndarray, names: Sequence[str], columns: int = 5) -> Figure:
    """Draw images in a grid, each above its name.

    Parameters
    ----------
    images : numpy.ndarray, shape [n, height, width]
        Grey values from 0 to 1.
    names : sequence of str
        One name for each image.
    columns : int
        Images a row.
    """
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.5 * columns, 1.75 * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (image, name) in zip(axes.flat, zip(images, names, strict=True), strict=False):
        picture(image, ax=ax)
        ax.text(0.5, -0.04, name, transform=ax.transAxes, ha="center", va="top")
    return figure


def above_below(rows: Mapping[str, np.ndarray], *, limits: tuple[float, float] = (0, 1)) -> Figure:
    """Draw rows of images, one under the other, each row with its name at the left.

    Parameters
    ----------
    rows : mapping of str to numpy.ndarray, shape [n, 784]
        For example the originals and their reconstructions.
    limits : pair of float
        The values drawn as black and white.
    """
    lengths = {name: len(images) for name, images in rows.items()}
    count = max(lengths.values())
    if set(lengths.values()) != {count}:
        raise ValueError(f"expected rows of equal length, received {lengths}")
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(8.5, len(rows) * 8 / count + 0.15), squeeze=False
    )
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        picture(tile(images, count, gap=2), limits=limits, ax=ax)
        ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center")
    return figure


def filters(kinds: Mapping[str, np.ndarray], *, columns: int = 5) -> Figure:
    """Draw weights as small pictures, a panel for each kind, blue for and red against.

    Parameters
    ----------
    kinds : mapping of str to numpy.ndarray, shape [n, 784]
        Title -> one filter a row, a weight for each pixel; each is scaled by its own largest.
    columns : int
        Filters a row.
    """
    figure, axes = plt.subplots(1, len(kinds), figsize=(4.25 * len(kinds), 4.6), squeeze=False)
    for ax, (title, rows) in zip(axes[0], kinds.items(), strict=True):
        largest = np.abs(rows).max(axis=1, keepdims=True)
        scaled = rows / np.where(largest > 0, largest, 1)
        whole = tile(scaled, columns, gap=2)
        picture(whole, title=title, limits=(-1, 1), cmap="RdBu", ax=ax)
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
    """Draw one or more curves over the same x.

    Parameters
    ----------
    x : numpy.ndarray, shape [m]
        For example the steps at which something was measured.
    ys : mapping of str to numpy.ndarray, shape [m]
        Label -> curve.  With more than one, a legend names them.
    xlabel, ylabel : str
        What the axes show, with units.
    ylim : pair of float, optional
        Where the y axis begins and ends; None in place of a number lets the curves decide.
    log : bool
        Logarithmic y axis.
    log_x : bool
        Logarithmic x axis, with a tick at each x.
    colors : sequence of str, optional
        One colour for each curve.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        ax = plt.subplots(figsize=(6.5, 3.4))[1]
    x = np.asarray(x)
    for i, (label, y) in enumerate(ys.items()):
        color = colors[i] if colors else None
        ax.plot(x, y, _LINES[i % len(_LINES)], color=color, label=label)
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
        ax.legend()
    return ax


def roc(
    rates: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    xlabel: str = "false positive rate",
    ylabel: str = "true positive rate",
    ax: Axes | None = None,
) -> Axes:
    """Draw receiver operating characteristics.

    Parameters
    ----------
    rates : mapping of str to pair of numpy.ndarray, shape [m] each
        Label -> the false and the true positive rate of one score, for falling thresholds.
    xlabel, ylabel : str
        What these rates are called here.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        ax = plt.subplots(figsize=(4.2, 4))[1]
    for i, (label, (false, true)) in enumerate(rates.items()):
        ax.plot(false, true, _LINES[i % len(_LINES)], label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="lower right")
    return ax


def class_map(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw points in a plane, coloured by class, each class's number near its middle.

    Parameters
    ----------
    points : numpy.ndarray, shape [n, 2]
        For example codes of two numbers.
    labels : numpy.ndarray, shape [n]
        Their classes; the numbers keep classes apart where colours cannot.
    xlabel, ylabel, title : str
        What the axes and the map show.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        ax = plt.subplots(figsize=(4, 4))[1]
    colors = plt.get_cmap("tab10")
    # In random order no class covers all others.
    order = np.random.default_rng(0).permutation(len(points))
    ax.scatter(*points[order].T, s=4, c=colors(labels[order] % 10), linewidths=0)
    size = np.maximum(np.ptp(points, axis=0), 1e-12)
    placed = np.empty((0, 2))
    for label in np.unique(labels):
        own = points[labels == label]
        to_middle = np.linalg.norm((own - np.median(own, axis=0)) / size, axis=1)
        near = own[np.argsort(to_middle)[: (len(own) + 1) // 2]]
        # Where the numbers of the classes before leave most room: they would hide each other.
        gaps = np.linalg.norm((near[:, None] - placed) / size, axis=2)
        x, y = near[np.argmax(gaps.min(axis=1, initial=np.inf))]
        placed = np.vstack([placed, (x, y)])
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colors(label % 10)}
        ax.text(x, y, str(label), ha="center", va="center", weight="bold", fontsize=9, bbox=box)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return ax


def class_maps(maps: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Draw several maps of the same examples side by side, as `class_map` draws one.

    Parameters
    ----------
    maps : mapping of str to numpy.ndarray, shape [n, 2]
        Title -> points.
    labels : numpy.ndarray, shape [n]
        The classes of the examples.
    """
    figure, axes = plt.subplots(1, len(maps), figsize=(3 * len(maps), 3.3), squeeze=False)
    for ax, (title, points) in zip(axes[0], maps.items(), strict=True):
        class_map(points, labels, xlabel="first", ylabel="second", title=title, ax=ax)
    return figure


def plane(
    draw: Callable[[float, float], np.ndarray],
    ranges: Mapping[str, tuple[float, float]],
    *,
    count: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Draw pictures that belong to the points of an even grid, each at its point.

    Parameters
    ----------
    draw : callable
        Takes a point's two coordinates, returns grey values from 0 to 1, shape [height, width].
    ranges : mapping of str to pair of float
        Name of the axis across and of the axis upwards -> where the grid begins and ends.
    count : int
        Points a row and rows, at least 2.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        ax = plt.subplots(figsize=(4.6, 4.6))[1]
    across, up = (np.linspace(low, high, count) for low, high in ranges.values())
    pictures = np.array([draw(x, y) for y in up[::-1] for x in across])
    half = [(points[1] - points[0]) / 2 for points in (across, up)]
    edges = [across[0] - half[0], across[-1] + half[0], up[0] - half[1], up[-1] + half[1]]
    whole = tile(pictures, count, height=pictures.shape[1], width=pictures.shape[2])
    ax.imshow(whole, cmap="gray", vmin=0, vmax=1, extent=edges, aspect="auto")
    xlabel, ylabel = ranges
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(False)
    return ax


def ranking(
    values: Mapping[str, float], *, xlabel: str, line: tuple[str, float], ax: Axes | None = None
) -> Axes:
    """Draw numbers as bars, the smallest at the bottom, and a dashed line to compare them with.

    Parameters
    ----------
    values : mapping of str to float
        What stands beside a bar -> its length.
    xlabel : str
        What the numbers are, with units.
    line : (str, float)
        What the legend calls the line, and where it stands.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        ax = plt.subplots(figsize=(6, 0.3 * len(values) + 0.5))[1]
    names = sorted(values, key=values.__getitem__)
    ax.barh(names, [values[name] for name in names])
    ax.axvline(line[1], color="#D55E00", linestyle="--", label=line[0])
    ax.set(xlabel=xlabel)
    ax.legend(loc="lower right")
    return ax


def network(sizes: Sequence[int], names: Mapping[int, str], *, ax: Axes | None = None) -> Axes:
    """Draw a network as one bar for each layer, its height growing with the layer's size.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of units from the input to the output.
    names : mapping of int to str
        Position in ``sizes`` -> a name to write under that bar.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
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
    """Draw the curves of many runs, a panel for each kind of run, the median as a thick line.

    Parameters
    ----------
    x : numpy.ndarray, shape [m]
        For example the steps at which something was measured.
    ys : mapping of str to numpy.ndarray, shape [n_runs, m]
        Kind -> one curve a run.
    xlabel, ylabel : str
        What the axes show, with units.
    ylim : pair of float, optional
        Where all y axes begin and end.
    """
    columns = min(len(ys), 3)
    n_rows = -(-len(ys) // columns)
    figure, axes = plt.subplots(
        n_rows,
        columns,
        figsize=(3 * columns, 2.6 * n_rows),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for place, (ax, (kind, curves_of_kind)) in enumerate(zip(axes.flat, ys.items(), strict=False)):
        color = f"C{place % 6}"
        for curve in curves_of_kind:
            ax.plot(x, curve, color=color, linewidth=0.7, alpha=0.6)
        ax.plot(x, np.median(curves_of_kind, axis=0), color=color, linewidth=2)
        ax.set_title(kind)
        ax.locator_params(axis="x", nbins=4)
    for ax in axes.flat[len(ys) :]:
        figure.delaxes(ax)
    for column in range(columns):
        last = axes[max(row for row in range(n_rows) if row * columns + column < len(ys)), column]
        last.set_xlabel(xlabel)
        last.tick_params(labelbottom=True)
    if ylim:
        axes[0, 0].set_ylim(ylim)  # and so all others
    figure.supylabel(ylabel, fontsize="medium")
    return figure


def dots(
    ys: Mapping[str, np.ndarray],
    intervals: Mapping[str, tuple[float, float]],
    *,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw every run as a dot, with the mean of its kind and an interval for it.

    Parameters
    ----------
    ys : mapping of str to numpy.ndarray, shape [n_runs]
        Kind -> one number a run.
    intervals : mapping of str to (float, float)
        Kind -> lower and upper end.
    ylabel : str
        What the numbers are, with units.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    if ax is None:
        ax = plt.subplots(figsize=(6.5, 3.4))[1]
    for place, (kind, numbers) in enumerate(ys.items()):
        color = f"C{place % 6}"
        beside = place + np.linspace(-0.12, 0.12, len(numbers)) if len(numbers) > 1 else [place]
        ax.plot(beside, numbers, "o", color=color, markersize=5, alpha=0.7)
        low, high = intervals[kind]
        ax.plot([place + 0.25] * 2, [low, high], "-", color="#333333", linewidth=1.5)
        ax.plot(place + 0.25, np.mean(numbers), "_", color="#333333", markersize=12)
    ax.set_xticks(range(len(ys)), list(ys))
    ax.set(ylabel=ylabel, xlim=(-0.5, len(ys) - 0.3))
    return ax
