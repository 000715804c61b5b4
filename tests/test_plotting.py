"""Figures: what they draw, where they draw it, and the words that stand for them."""

import io
import re
from collections.abc import Iterable

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
from matplotlib.text import Text
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


def tiled_by_loops(images: np.ndarray, columns: int, gap: int) -> np.ndarray:
    count, height, width = images.shape
    rows = (count + columns - 1) // columns
    whole = np.full([rows * (height + gap) - gap, columns * (width + gap) - gap], np.nan)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        whole[top : top + height, left : left + width] = image
    return whole


@pytest.mark.parametrize("gap", [0, 1, 3])
@pytest.mark.parametrize(("count", "columns"), [(1, 1), (6, 3), (6, 6), (5, 1), (7, 3), (2, 5)])
def test_tile_equals_explicit_loops(count, columns, gap):
    images = random_images(count)
    before = images.copy()
    tiled = plotting.tile(images, columns, gap=gap)
    np.testing.assert_array_equal(tiled, tiled_by_loops(images, columns, gap))
    tiled[:] = 9
    np.testing.assert_array_equal(images, before)


def test_tile_takes_flat_images_of_28_by_28_pixels_and_whole_grey_values():
    images = (255 * random_images(6, 28, 28)).astype(np.uint8)
    tiled = plotting.tile(images.reshape(6, 784), 4)
    np.testing.assert_array_equal(tiled, tiled_by_loops(images, 4, 0))


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
def test_show_publishes_the_picture_with_its_text_and_closes_the_figure(outputs, of):
    other, (figure, ax) = plt.figure(), plt.subplots(facecolor="red")
    plotting.show({"figure": figure, "axes": ax}[of], "A red figure.")
    (output,) = outputs
    assert set(output["data"]) == {"image/png", "text/plain"}
    assert output["data"]["text/plain"] == "A red figure."
    assert output["metadata"] == {"image/png": {"alt": "A red figure."}}
    shown = plt.imread(io.BytesIO(output["data"]["image/png"]))
    np.testing.assert_array_equal(shown[0, 0], [1, 0, 0, 1])
    assert plt.get_fignums() == [other.number]


def test_a_script_prints_the_text_of_a_figure_and_no_bytes(capsys):
    InteractiveShell.clear_instance()
    plotting.show(plt.figure(), "A figure.")
    assert capsys.readouterr().out == "A figure.\n"


def test_explore_shows_a_figure_and_where_there_are_widgets_sliders(outputs, monkeypatch):
    points, boxes = [], []

    def draw(*point: float) -> np.ndarray:
        points.append(point)
        return np.full([4, 3], point[0] / 10)

    def box(children: list[ipywidgets.Widget]) -> ipywidgets.Widget:
        boxes.append(ipywidgets.Box(children))
        return boxes[-1]

    monkeypatch.setattr(plotting.ipywidgets, "HBox", box)
    plotting.explore(plt.figure(), "A <grid>.", draw, {"first": (0, 10), "second": (-2, 2)})
    (output,), (whole,) = outputs, boxes
    widget = "application/vnd.jupyter.widget-view+json"
    assert set(output["data"]) == {"image/png", "text/plain", widget}
    assert output["data"][widget]["model_id"] == whole.model_id
    assert output["data"]["text/plain"] == "A <grid>."
    assert output["data"]["image/png"].startswith(PNG_START)
    assert output["metadata"] == {"image/png": {"alt": "A <grid>."}}
    assert plt.get_fignums() == []
    still, controls = whole.children
    assert 'alt="A &lt;grid&gt;."' in still.value
    first, second, picture = controls.children
    assert [slider.description for slider in (first, second)] == ["first", "second"]
    assert (first.min, first.max, second.min, second.max) == (0, 10, -2, 2)
    before = bytes(picture.value)
    first.value, second.value = 7, -1
    assert points == [(5, 0), (7, 0), (7, -1)]
    assert before != bytes(picture.value)


def in_points(x: float, y: float) -> np.ndarray:
    return np.array([[x / 10, y / 10, 0]] * 2)


ON_AXES = [
    lambda ax: plotting.curves([0, 1], {"loss": [0, 1]}, xlabel="x", ylabel="y", ax=ax),
    lambda ax: plotting.picture(random_images(1)[0], ax=ax),
]
IN_A_NEW_FIGURE = [
    *(lambda draw=draw: draw(None) for draw in ON_AXES),
    lambda: plotting.network([784, 100, 784], {1: "code"}),
    lambda: plotting.plane(in_points, {"x": (0, 1), "y": (0, 1)}),
    lambda: plotting.numbers_kept({"PCA": (np.array([1, 9]), np.array([40.0, 20]))}),
    lambda: plotting.dots({"a": np.array([1.0])}, ylabel="y", split=0),
    lambda: plotting.runs(np.arange(3), {"a": np.ones([2, 3])}, xlabel="x", ylabel="y"),
    lambda: plotting.code_map(
        random_images(40, 2, 1)[..., 0], np.arange(40) % 10, np.zeros([40, 784])
    ),
    lambda: plotting.above_below({"images": np.zeros([10, 784])}),
    lambda: plotting.filters({"units": random_images(7, 28, 28).reshape(7, 784)}),
]


def is_empty(ax: Axes) -> bool:
    return not any([ax.lines, ax.images, ax.patches, ax.collections])


@pytest.mark.parametrize("draw", ON_AXES)
def test_it_draws_on_the_given_axes_only(draw, ax):
    assert draw(ax) is ax
    assert [is_empty(each) for each in ax.figure.axes] == [True, False, True]
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("draw", IN_A_NEW_FIGURE)
def test_it_draws_in_a_new_figure_and_can_be_shown_in_the_courses_style(draw, ax, outputs):
    with plt.style.context(plotting.STYLE):
        drawn = draw()
        assert (drawn if isinstance(drawn, Figure) else drawn.figure) is not ax.figure
        assert len(plt.get_fignums()) == 2
        assert is_empty(ax)
        plotting.show(drawn, "A figure.")
    assert outputs[0]["data"]["image/png"].startswith(PNG_START)


def words(texts: Iterable[Text]) -> list[str]:
    return [text.get_text() for text in texts if text.get_text()]


def pixels_of(ax: Axes) -> np.ndarray:
    (image,) = ax.images
    return np.ma.filled(image.get_array(), np.nan)


def assert_lines(ax: Axes, x: object, ys: Iterable[object]) -> None:
    for line, y in zip(ax.lines, ys, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_array_equal(line.get_ydata(), y)


def test_a_picture_has_its_pixels_limits_colours_and_title_and_no_axes(ax):
    pixels = random_images(1)[0]
    plotting.picture(pixels, title="Codes", limits=(-2, 3), cmap="viridis", ax=ax)
    np.testing.assert_array_equal(pixels_of(ax), pixels)
    assert ax.images[0].get_clim() == (-2, 3)
    assert ax.images[0].get_cmap().name == "viridis"
    assert ax.get_title() == "Codes"
    assert not ax.axison


def curves(ax: Axes, ys: dict[str, object], x: object = (0, 100, 200), **options: object) -> None:
    plotting.curves(x, ys, xlabel="step", ylabel="loss per image", ax=ax, **options)
    ax.figure.draw_without_rendering()


def test_curves_have_their_values_labels_and_a_legend(ax):
    ys = {"train": np.array([3.0, 2, 1]), "validation": np.array([4.0, 3, 2])}
    curves(ax, ys)
    assert_lines(ax, (0, 100, 200), ys.values())
    assert len({line.get_linestyle() for line in ax.lines}) == 2  # told apart without colour
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss per image")
    assert words(ax.get_legend().get_texts()) == ["train", "validation"]
    assert ax.get_yscale() == "linear"


def test_curves_take_colours_limits_and_whole_numbers_have_whole_ticks(ax):
    ys = {"normal": [0.2, 0.8], "pretrained": [0.1, 0.2]}
    curves(ax, ys, np.arange(2), colors=["red", "blue"], ylim=(0, None))
    assert [to_hex(line.get_color()) for line in ax.lines] == ["#ff0000", "#0000ff"]
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 0.8
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


@pytest.mark.parametrize(
    ("highest", "expected"),
    [(40.0, ["5", "7", "10", "20", "30"]), (900.0, ["10^{1}", "10^{2}", "10^{3}"])],
)
def test_a_short_logarithmic_axis_has_plain_numbers_between_the_powers(ax, highest, expected):
    curves(ax, {"": [4.5, highest]}, [0, 1], log=True)
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    shown = sorted((t.get_loc(), t.label1.get_text()) for t in ticks if low < t.get_loc() < high)
    labels = [re.sub(r"\$\\mathdefault{(.*)}\$", r"\1", text) for _, text in shown if text]
    assert labels == expected


def test_curves_on_a_logarithmic_x_axis_have_a_tick_at_each_x(ax):
    curves(ax, {"one needs no legend": np.arange(3)}, [2, 20, 55000], log_x=True)
    assert ax.get_legend() is None
    assert words(ax.get_xticklabels()) == ["2", "20", "55,000"]
    assert words(ax.get_xticklabels(minor=True)) == []


def test_the_courses_figure_shows_lines_and_every_run():
    runs = np.array([[40.0, 8], [42, 10]])
    ax = plotting.numbers_kept(
        {"PCA": (np.array([1, 2, 3]), np.array([50.0, 45, 40])), "deep": (np.array([2, 20]), runs)}
    )
    pca, mean, *dots = ax.lines
    np.testing.assert_array_equal(pca.get_ydata(), [50, 45, 40])
    np.testing.assert_array_equal(mean.get_ydata(), [41, 9])
    np.testing.assert_array_equal([line.get_ydata() for line in dots], runs)
    assert {line.get_linestyle() for line in dots} == {"None"}
    assert words(ax.get_legend().get_texts()) == ["PCA", "deep"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.9, 800), (0.9, 80))


def test_a_network_has_a_bar_a_size_and_a_name_for_each_layer_inside_its_axes():
    ax = plotting.network([784, 100, 50, 25, 12, 5], {0: "image", 5: "code"})
    assert words(ax.texts) == ["784", "image", "100", "50", "25", "12", "5", "code"]
    heights = [bar.get_height() for container in ax.containers for bar in container]
    assert heights == sorted(set(heights), reverse=True)
    assert len(heights) == 6
    assert heights[-1] > 0.05 * heights[0]  # the smallest stays visible
    assert not ax.axison
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    points = [text.get_position() for text in ax.texts]
    for patch in ax.patches:
        points.extend(patch.get_path().get_extents(patch.get_patch_transform()).get_points())
    assert len(points) == 12 + 2 * 11
    assert all(left <= x <= right and bottom <= y <= top for x, y in points)


def test_a_code_map_shows_every_point_and_images_that_do_not_hide_each_other():
    rng, labels = np.random.default_rng(0), np.arange(300) % 3
    codes, images = rng.normal(size=[300, 2]), rng.random([300, 784])
    ax = plotting.code_map(codes, labels, images)
    (drawn,) = ax.collections
    offsets = np.asarray(drawn.get_offsets())
    np.testing.assert_array_equal(np.sort(offsets, axis=0), np.sort(codes, axis=0))
    assert len({tuple(color) for color in drawn.get_facecolors()}) == 3
    assert words(ax.texts) == ["0", "1", "2"]
    for label, text in enumerate(ax.texts):
        assert text.get_position() == pytest.approx(np.median(codes[labels == label], axis=0))
    boxes = [artist for artist in ax.artists if hasattr(artist, "offsetbox")]
    assert 20 < len(boxes) < 300
    size = np.ptp(np.quantile(codes, [0.005, 0.995], axis=0), axis=0)
    places = np.array([box.xy for box in boxes])
    for number, box in enumerate(boxes):
        (at,) = np.flatnonzero((codes == box.xy).all(axis=1))
        ink = box.offsetbox.get_data()[..., 3].reshape(-1)
        np.testing.assert_array_equal(ink, images[at])
        others = np.delete(places, number, axis=0)
        assert (np.abs((others - box.xy) / size).max(axis=1) > 0.05).all()


def test_a_plane_shows_what_is_drawn_at_each_point_where_the_point_is():
    ax = plotting.plane(in_points, {"first": (0, 11), "second": (2, 13)})
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first", "second")
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == pytest.approx((-0.5, 11.5, 1.5, 13.5))
    # The pictures fill the extent evenly; the first row of pixels is the uppermost.
    cells = pixels_of(ax).reshape(12, 2, 12, 3).swapaxes(1, 2)
    expected = [[in_points(x, y) for x in range(12)] for y in range(13, 1, -1)]
    np.testing.assert_allclose(cells, expected)


def test_above_below_shows_a_named_row_of_pictures_for_each_entry():
    images = random_images(5, 28, 28)
    rows = {"images": images.reshape(5, 784), "rebuilt": 1 - images.reshape(5, 784)}
    figure = plotting.above_below(rows)
    for ax, name, drawn in zip(figure.axes, rows, [images, 1 - images], strict=True):
        np.testing.assert_array_equal(pixels_of(ax), tiled_by_loops(drawn, 5, 2))
        assert (ax.images[0].get_clim(), ax.images[0].get_cmap().name) == ((0, 1), "gray")
        assert words(ax.texts) == [name]


def test_filters_have_a_panel_a_kind_each_scaled_by_its_own_largest_weight():
    rows = np.linspace(-2, 4, 7)[:, None, None] * random_images(7, 28, 28)
    rows[2] = 0  # a dead unit's weights may be all zero
    flat = rows.reshape(7, 784)
    figure = plotting.filters({"units": flat, "directions": -flat})
    scaled = np.array([row / (np.abs(row).max() or 1) for row in rows])
    assert [ax.get_title() for ax in figure.axes] == ["units", "directions"]
    for ax, expected in zip(figure.axes, [scaled, -scaled], strict=True):
        assert ax.images[0].get_clim() == (-1, 1)
        np.testing.assert_allclose(pixels_of(ax), tiled_by_loops(expected, 5, 2))


def test_the_courses_colours_differ_in_lightness():
    style = mpl.rc_params_from_file(plotting.STYLE, use_default_template=False)
    colors = [mpl.colors.to_rgb(color) for color in style["axes.prop_cycle"].by_key()["color"]]
    grey = [float(np.dot(color, [0.299, 0.587, 0.114])) for color in colors]
    assert abs(grey[0] - grey[1]) > 0.08  # most figures have two curves
    assert len(set(colors)) == len(colors) == 6


@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_runs_have_a_panel_a_kind_a_line_a_run_and_the_median(kinds):
    ys = {f"kind {k}": np.square(np.arange(12.0).reshape(3, 4)) + k for k in range(kinds)}
    figure = plotting.runs(np.arange(4), ys, xlabel="step", ylabel="accuracy (%)", ylim=(0, 100))
    assert [ax.get_title() for ax in figure.axes] == list(ys)
    for ax, runs in zip(figure.axes, ys.values(), strict=True):
        assert ax.get_ylim() == (0, 100)
        assert_lines(ax, np.arange(4), [*runs, runs[1]])
        assert ax.lines[-1].get_linewidth() > ax.lines[0].get_linewidth()
    named = {ax.get_title() for ax in figure.axes if ax.get_xlabel() == "step"}
    assert named == set(list(ys)[-3:])


def test_dots_show_every_run_in_one_of_two_panels():
    ys = {"one": np.array([1.0, 2.0, 96.0]), "other": np.array([94.0])}
    ax = plotting.dots(ys, ylabel="accuracy (%)", split=20)
    high, low = ax.figure.axes
    assert ax is low
    assert (high.get_ylim(), low.get_ylim()) == ((93, 97), (0, 3))
    for panel in (high, low):
        for line, runs in zip(panel.lines, ys.values(), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), runs)
    assert words(low.get_xticklabels()) == list(ys)
    assert high.get_ylabel() == "accuracy (%)"


def test_dots_need_one_panel_where_all_runs_lie_above_the_gap():
    ax = plotting.dots({"a": np.array([94.0, 96.0])}, ylabel="accuracy (%)", split=20)
    assert ax.figure.axes == [ax]
    assert ax.get_ylim() == (93, 97)
