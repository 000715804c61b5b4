"""Figures: what they draw, where they draw it, and the words that stand for them."""

import re
from dataclasses import dataclass

import ipywidgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from traitlets.config import Config

from helpers import plotting

PNG_START = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def _quiet_figures():
    """Draw in memory, and close what a test has drawn."""
    with mpl.rc_context():
        plt.switch_backend("Agg")
        yield
        plt.close("all")


@pytest.fixture
def ax() -> Axes:
    """Return the second of two Axes, so that drawing on the current ones would show."""
    axes = plt.subplots(1, 3)[1]
    return axes[1]


def random_images(count: int, height: int = 4, width: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random([count, height, width])


# ------------------------------------------------------------------------------------------ tile


def tiled_by_loops(images: np.ndarray, columns: int, gap: int) -> np.ndarray:
    count, height, width = images.shape
    rows = (count + columns - 1) // columns
    whole = np.full(
        [rows * height + (rows - 1) * gap, columns * width + (columns - 1) * gap], np.nan
    )
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        for y in range(height):
            for x in range(width):
                whole[top + y, left + x] = image[y, x]
    return whole


@pytest.mark.parametrize("gap", [0, 1, 3])
@pytest.mark.parametrize(("count", "columns"), [(1, 1), (6, 3), (6, 6), (5, 1), (7, 3), (2, 5)])
def test_tile_equals_explicit_loops(count, columns, gap):
    images = random_images(count)
    expected = tiled_by_loops(images, columns, gap)
    tiled = plotting.tile(images, columns, height=4, width=3, gap=gap)
    np.testing.assert_array_equal(tiled, expected)


def test_tile_takes_flat_images_of_28_by_28_pixels():
    images = random_images(6, 28, 28)
    tiled = plotting.tile(images.reshape(6, 784), 3)
    assert tiled.shape == (56, 84)
    np.testing.assert_array_equal(tiled, tiled_by_loops(images, 3, 0))


def test_tile_takes_whole_grey_values():
    images = (255 * random_images(5)).astype(np.uint8)
    tiled = plotting.tile(images, 2, height=4, width=3)
    np.testing.assert_array_equal(tiled, tiled_by_loops(images, 2, 0))


def test_tile_leaves_the_images_as_they_are():
    images = random_images(5)
    before = images.copy()
    plotting.tile(images, 2, height=4, width=3, gap=1)[:] = 9
    np.testing.assert_array_equal(images, before)


# ------------------------------------------------------------------------------------------ show


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> list[dict]:
    """Return what an IPython shell publishes."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # a shell, unlike a kernel, imports from there
    monkeypatch.setattr(InteractiveShell, "display_pub_class", CapturingDisplayPublisher)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    yield shell.display_pub.outputs
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("of", ["figure", "axes"])
def test_show_publishes_the_picture_with_its_text(outputs, of):
    figure, ax = plt.subplots()
    plotting.show({"figure": figure, "axes": ax}[of], "A curve that falls.")
    (output,) = outputs
    assert output["data"]["text/plain"] == "A curve that falls."
    assert output["data"]["image/png"].startswith(PNG_START)
    assert set(output["data"]) == {"image/png", "text/plain"}
    assert output["metadata"] == {"image/png": {"alt": "A curve that falls."}}


def test_show_closes_its_figure_and_no_other(outputs):
    other, figure = plt.figure(), plt.figure()
    plotting.show(figure, "Nothing.")
    assert plt.get_fignums() == [other.number]


def test_the_picture_shows_what_was_drawn(outputs):
    for color in ("black", "white"):
        figure = plt.figure(facecolor=color, figsize=(1, 1), dpi=10)
        plotting.show(figure, "One colour.")
    pictures = [output["data"]["image/png"] for output in outputs]
    assert pictures[0] != pictures[1]


# --------------------------------------------------------------------------------------- explore

WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Explored:
    """What `explore` has shown, its controls, and the points it had drawn."""

    output: dict
    controls: tuple[ipywidgets.Widget, ...]
    points: list[tuple[float, ...]]


@pytest.fixture
def explored(outputs, monkeypatch) -> Explored:
    points, boxes = [], []

    def draw(*point: float) -> np.ndarray:
        points.append(point)
        return np.full([4, 3], point[0] / 10)

    def box(children: list[ipywidgets.Widget]) -> ipywidgets.Widget:
        boxes.append(ipywidgets.Box(children))
        return boxes[-1]

    monkeypatch.setattr(plotting.ipywidgets, "HBox", box)
    plotting.explore(plt.figure(), "A grid.", draw, {"first": (0, 10), "second": (-2, 2)})
    (output,), (whole,) = outputs, boxes
    assert output["data"][WIDGET]["model_id"] == whole.model_id
    return Explored(output, whole.children[1].children, points)


def test_explore_shows_the_figure_where_there_are_no_widgets(explored):
    output = explored.output
    assert set(output["data"]) == {"image/png", "text/plain", WIDGET}
    assert output["data"]["text/plain"] == "A grid."
    assert output["data"]["image/png"].startswith(PNG_START)
    assert output["metadata"] == {"image/png": {"alt": "A grid."}}
    assert plt.get_fignums() == []


def test_explore_starts_in_the_middle_and_follows_its_sliders(explored):
    first, second, picture = explored.controls
    assert [slider.description for slider in (first, second)] == ["first", "second"]
    assert (first.min, first.max, second.min, second.max) == (0, 10, -2, 2)
    before = bytes(picture.value)
    first.value = 7
    second.value = -1
    assert explored.points == [(5, 0), (7, 0), (7, -1)]
    assert before.startswith(PNG_START)
    assert bytes(picture.value).startswith(PNG_START)
    assert bytes(picture.value) != before


# --------------------------------------------------------------------------------- where it draws


def draw_curves(ax: Axes | None) -> Axes:
    return plotting.curves(np.arange(3), {"loss": np.arange(3)}, xlabel="x", ylabel="y", ax=ax)


def draw_picture(ax: Axes | None) -> Axes:
    return plotting.picture(random_images(1)[0], ax=ax)


def draw_network(ax: Axes | None) -> Axes:
    return plotting.network([784, 100, 784], {1: "code"}, ax=ax)


def draw_class_map(ax: Axes | None) -> Axes:
    points, labels = np.random.default_rng(0).random([40, 2]), np.arange(40) % 10
    return plotting.class_map(points, labels, xlabel="x", ylabel="y", ax=ax)


def draw_plane(ax: Axes | None) -> Axes:
    return plotting.plane(
        lambda x, y: np.array([[x, y]]), {"x": (0, 1), "y": (0, 1)}, count=3, ax=ax
    )


def draw_ranking(ax: Axes | None) -> Axes:
    return plotting.ranking({"b": 2.0, "a": 1.0}, xlabel="error", line=("mean", 1.5), ax=ax)


def draw_roc(ax: Axes | None) -> Axes:
    return plotting.roc({"score": (np.array([0, 0, 1]), np.array([0, 0.5, 1]))}, ax=ax)


DRAWINGS = pytest.mark.parametrize(
    "draw",
    [
        draw_curves,
        draw_picture,
        draw_network,
        draw_class_map,
        draw_plane,
        draw_ranking,
        draw_roc,
    ],
)


def is_empty(ax: Axes) -> bool:
    return not any([ax.lines, ax.images, ax.patches, ax.collections])


@DRAWINGS
def test_it_draws_on_the_given_axes_only(draw, ax):
    others = [other for other in ax.figure.axes if other is not ax]
    assert draw(ax) is ax
    assert not is_empty(ax)
    assert all(is_empty(other) for other in others)
    assert plt.get_fignums() == [ax.figure.number]


@DRAWINGS
def test_without_axes_it_draws_in_a_new_figure(draw, ax):
    drawn = draw(None)
    assert isinstance(drawn, Axes)
    assert drawn.figure is not ax.figure
    assert len(plt.get_fignums()) == 2
    assert is_empty(ax)


# ----------------------------------------------------------------------------------- what it draws


def test_a_picture_has_its_pixels_limits_and_title_and_no_axes(ax):
    pixels = random_images(1)[0]
    plotting.picture(pixels, title="Codes", limits=(-2, 3), cmap="viridis", ax=ax)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), pixels)
    assert image.get_clim() == (-2, 3)
    assert image.get_cmap().name == "viridis"
    assert ax.get_title() == "Codes"
    assert not ax.axison


def test_a_picture_is_grey_from_0_to_1_by_default(ax):
    plotting.picture(np.full([2, 2], 0.5), ax=ax)
    assert ax.images[0].get_clim() == (0, 1)
    assert ax.images[0].get_cmap().name == "gray"


def test_curves_have_their_values_labels_and_a_legend(ax):
    x = np.array([0, 100, 200])
    ys = {"train": np.array([3.0, 2, 1]), "validation": np.array([4.0, 3, 2])}
    plotting.curves(x, ys, xlabel="step", ylabel="loss per image", ax=ax)
    for line, y in zip(ax.lines, ys.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_array_equal(line.get_ydata(), y)
    assert ax.get_xlabel() == "step"
    assert ax.get_ylabel() == "loss per image"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "validation"]
    assert ax.get_yscale() == "linear"


def test_curves_can_be_told_apart_without_colour(ax):
    ys = {name: np.arange(3) for name in "abcd"}
    plotting.curves(np.arange(3), ys, xlabel="x", ylabel="y", ax=ax)
    assert len({line.get_linestyle() for line in ax.lines}) == 4


def test_one_curve_needs_no_legend(ax):
    plotting.curves(np.arange(3), {"loss": np.arange(3)}, xlabel="x", ylabel="y", ax=ax)
    assert ax.get_legend() is None


def test_curves_take_colours_and_a_logarithmic_axis(ax):
    ys = {"normal": np.array([1, 10]), "pretrained": np.array([2, 20])}
    plotting.curves(
        np.arange(2), ys, xlabel="x", ylabel="y", log=True, colors=["red", "blue"], ax=ax
    )
    assert [to_hex(line.get_color()) for line in ax.lines] == ["#ff0000", "#0000ff"]
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(
    ("highest", "expected"),
    [(40.0, ["5", "7", "10", "20", "30"]), (900.0, ["10^{1}", "10^{2}", "10^{3}"])],
)
def test_a_short_logarithmic_axis_has_plain_numbers_between_the_powers(ax, highest, expected):
    plotting.curves([0, 1], {"": [4.5, highest]}, xlabel="x", ylabel="y", log=True, ax=ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    shown = sorted((t.get_loc(), t.label1.get_text()) for t in ticks if low < t.get_loc() < high)
    labels = [re.sub(r"\$\\mathdefault{(.*)}\$", r"\1", text) for _, text in shown if text]
    assert labels == expected


def test_curves_on_a_logarithmic_x_axis_have_a_tick_at_each_x(ax):
    plotting.curves([2, 20, 55000], {"": np.arange(3)}, xlabel="x", ylabel="y", log_x=True, ax=ax)
    ax.figure.draw_without_rendering()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2", "20", "55,000"]
    assert not any(tick.get_text() for tick in ax.get_xticklabels(minor=True))


def test_curves_take_limits_and_whole_numbers_have_whole_ticks(ax):
    plotting.curves(
        np.arange(3), {"": [0.2, 0.8, 0.5]}, xlabel="x", ylabel="y", ylim=(0, None), ax=ax
    )
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 0.8
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_roc_curves_have_their_rates_and_names(ax):
    rates = {"perfect": ([0, 0, 1], [0, 1, 1]), "fair": ([0, 0.5, 1], [0, 0.7, 1])}
    plotting.roc(rates, xlabel="false alarms", ax=ax)
    for line, (false, true) in zip(ax.lines, rates.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), false)
        np.testing.assert_array_equal(line.get_ydata(), true)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(rates)
    assert len({line.get_linestyle() for line in ax.lines}) == 2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("false alarms", "true positive rate")


def test_class_maps_are_one_map_each_of_the_same_examples():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 3
    figure = plotting.class_maps({"one": rng.random([40, 2]), "two": rng.random([40, 2])}, labels)
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    assert all(texts(ax) == ["0", "1", "2"] for ax in figure.axes)
    plt.close(figure)


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_a_network_shows_a_bar_a_size_and_a_name_for_each_layer(ax):
    plotting.network([784, 100, 784], {0: "image", 1: "code"}, ax=ax)
    assert texts(ax) == ["784", "image", "100", "code", "784"]
    heights = [bar.get_height() for container in ax.containers for bar in container]
    assert heights[0] == heights[2] > heights[1] > 0
    assert not ax.axison


def test_larger_layers_are_higher_and_the_smallest_stays_visible(ax):
    plotting.network([784, 100, 50, 25, 12, 5], {}, ax=ax)
    heights = [bar.get_height() for container in ax.containers for bar in container]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 6
    assert heights[-1] > 0.05 * heights[0]


def test_everything_of_a_network_lies_inside_its_axes(ax):
    plotting.network([784, 5, 784], {0: "image"}, ax=ax)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for text in ax.texts:
        x, y = text.get_position()
        assert left <= x <= right
        assert bottom <= y <= top
    for patch in ax.patches:
        (x0, y0), (x1, y1) = patch.get_path().get_extents(patch.get_patch_transform()).get_points()
        assert left <= min(x0, x1) <= max(x0, x1) <= right
        assert bottom <= min(y0, y1) <= max(y0, y1) <= top


def test_a_class_map_shows_every_point_and_numbers_the_classes_where_they_are(ax):
    labels = np.arange(30) % 3
    points = 10.0 * labels[:, None] + np.random.default_rng(0).random([30, 2])
    plotting.class_map(points, labels, xlabel="first", ylabel="second", title="Codes", ax=ax)
    (dots,) = ax.collections
    drawn = np.asarray(dots.get_offsets())
    np.testing.assert_array_equal(np.sort(drawn, axis=0), np.sort(points, axis=0))
    colors = {tuple(color) for color in dots.get_facecolors()}
    assert len(colors) == 3
    assert texts(ax) == ["0", "1", "2"]
    for label, text in enumerate(ax.texts):
        own = points[labels == label]
        assert text.get_position() in map(tuple, own)
        far = np.linalg.norm(own - np.median(own, axis=0), axis=1)
        at = np.linalg.norm(text.get_position() - np.median(own, axis=0))
        assert at <= np.median(far)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("first", "second", "Codes")


def test_the_numbers_of_classes_that_lie_on_each_other_do_not(ax):
    rng = np.random.default_rng(1)
    points, labels = rng.normal(size=[200, 2]), np.arange(200) % 2
    plotting.class_map(points, labels, xlabel="first", ylabel="second", ax=ax)
    one, other = (np.array(text.get_position()) for text in ax.texts)
    assert np.linalg.norm(one - other) > 0.8


def test_a_plane_shows_what_is_drawn_at_each_point_where_the_point_is(ax):
    def draw(x: float, y: float) -> np.ndarray:
        return np.array([[x / 10, y / 10, 0]] * 2)

    plotting.plane(draw, {"first": (0, 10), "second": (2, 6)}, count=3, ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first", "second")
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    pixels = np.ma.filled(image.get_array(), np.nan)
    assert pixels.shape == (3 * 2, 3 * 3)
    for x in (0, 5, 10):
        for y in (2, 4, 6):
            # The pictures fill the extent evenly; the first row of pixels is the uppermost.
            column = int((x - left) / (right - left) * 3)
            row = int((top - y) / (top - bottom) * 3)
            cell = pixels[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            np.testing.assert_allclose(cell, draw(x, y))
            middle = left + (column + 0.5) * (right - left) / 3
            assert middle == pytest.approx(x)


def test_a_ranking_goes_from_the_smallest_upwards_beside_its_line(ax):
    values = {"loops": 9.0, "strokes": 4.0, "crossings": 7.0}
    plotting.ranking(values, xlabel="squared error", line=("all", 6.0), ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["strokes", "crossings", "loops"]
    assert [bar.get_width() for bar in ax.patches] == [4, 7, 9]
    (line,) = ax.lines
    assert list(line.get_xdata()) == [6, 6]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["all"]
    assert ax.get_xlabel() == "squared error"


def test_a_named_grid_shows_every_image_above_its_name():
    images, names = random_images(7), [f"class {i}" for i in range(7)]
    figure = plotting.named_grid(images, names, columns=3)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 9
    for ax, image, name in zip(figure.axes, images, names, strict=False):
        np.testing.assert_array_equal(ax.images[0].get_array(), image)
        assert texts(ax) == [name]
        assert ax.texts[0].get_position()[1] < 0  # below the image, in its own coordinates
    for ax in figure.axes:
        assert not ax.axison
    assert all(is_empty(ax) for ax in figure.axes[7:])


def test_above_below_shows_a_named_row_of_pictures_for_each_entry():
    rows = {"images": random_images(5, 28, 28).reshape(5, 784)}
    rows["rebuilt"] = 1 - rows["images"]
    figure = plotting.above_below(rows, limits=(-1, 2))
    assert isinstance(figure, Figure)
    for ax, (name, images) in zip(figure.axes, rows.items(), strict=True):
        pixels = np.ma.filled(ax.images[0].get_array(), np.nan)
        np.testing.assert_array_equal(pixels, tiled_by_loops(images.reshape(5, 28, 28), 5, 2))
        assert ax.images[0].get_clim() == (-1, 2)
        assert texts(ax) == [name]


def test_filters_have_a_panel_a_kind_each_scaled_by_its_own_largest_weight():
    rows = np.linspace(-2, 4, 7)[:, None] * random_images(7, 28, 28).reshape(7, 784)
    rows[2] = 0  # a dead unit's weights may be all zero
    figure = plotting.filters({"units": rows, "directions": -rows}, columns=3)
    for ax, (name, sign) in zip(figure.axes, {"units": 1, "directions": -1}.items(), strict=True):
        assert ax.get_title() == name
        assert ax.images[0].get_clim() == (-1, 1)
        scales = [np.abs(row).max() or 1 for row in rows]
        scaled = np.array([sign * row / by for row, by in zip(rows, scales, strict=True)])
        pixels = np.ma.filled(ax.images[0].get_array(), np.nan)
        expected = tiled_by_loops(scaled.reshape(7, 28, 28), 3, 2)
        np.testing.assert_allclose(pixels, expected)


@pytest.mark.parametrize(
    "draw",
    [
        draw_curves,
        draw_picture,
        draw_network,
        draw_plane,
        draw_ranking,
        draw_roc,
        lambda ax: plotting.named_grid(random_images(7), list("abcdefg")),
        lambda ax: plotting.above_below({"images": np.zeros([10, 784])}),
        lambda ax: plotting.filters({"units": random_images(7, 28, 28).reshape(7, 784)}),
    ],
    ids=[
        "curves",
        "picture",
        "network",
        "plane",
        "ranking",
        "roc",
        "named_grid",
        "above_below",
        "filters",
    ],
)
def test_everything_can_be_shown_in_the_courses_style(draw, outputs):
    with plt.style.context(plotting.STYLE):
        plotting.show(draw(None), "A figure.")
    assert outputs[0]["data"]["image/png"].startswith(PNG_START)


def test_the_courses_colours_differ_in_lightness():
    style = mpl.rc_params_from_file(plotting.STYLE, use_default_template=False)
    colors = [mpl.colors.to_rgb(color) for color in style["axes.prop_cycle"].by_key()["color"]]
    grey = [float(np.dot(color, [0.299, 0.587, 0.114])) for color in colors]
    assert abs(grey[0] - grey[1]) > 0.08  # most figures have two curves
    assert len(set(colors)) == len(colors) == 6


@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_runs_have_a_panel_a_kind_a_line_a_run_and_the_median(kinds):
    x = np.arange(4)
    ys = {f"kind {k}": np.arange(12.0).reshape(3, 4) + k for k in range(kinds)}
    figure = plotting.runs(x, ys, xlabel="step", ylabel="accuracy (%)", ylim=(0, 100))
    assert [ax.get_title() for ax in figure.axes] == list(ys)
    for ax, curves in zip(figure.axes, ys.values(), strict=True):
        assert ax.get_ylim() == (0, 100)
        *thin, thick = ax.get_lines()
        for line, curve in zip(thin, curves, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), curve)
        np.testing.assert_array_equal(thick.get_ydata(), curves[1])
        assert thick.get_linewidth() > thin[0].get_linewidth()
    named = {ax.get_title() for ax in figure.axes if ax.get_xlabel() == "step"}
    assert named == set(list(ys)[-3:])
    plt.close(figure)


def test_dots_show_every_run_the_mean_and_its_interval():
    ys = {"one": np.array([1.0, 2.0, 6.0]), "other": np.array([4.0])}
    ax = plotting.dots(ys, {"one": (1.5, 5.0), "other": (4.0, 4.0)}, ylabel="accuracy (%)")
    runs, interval, mean, *_ = ax.get_lines()
    np.testing.assert_array_equal(runs.get_ydata(), ys["one"])
    np.testing.assert_array_equal(interval.get_ydata(), [1.5, 5.0])
    assert np.ravel(mean.get_ydata()) == [3.0]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(ys)
    assert ax.get_ylabel() == "accuracy (%)"
    plt.close(ax.figure)
