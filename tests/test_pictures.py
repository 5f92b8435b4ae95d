"""The pictures of the documentation are what their command makes of the data beside them, readable small and without seeing."""

import base64
import io
import re
import sys
from importlib import import_module
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gemnet.drawing.palette import adaptive_svg
from gemnet.drawing.plots import LETTERS, WIDTH, dots, legend_below, page_figure, panels

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.svg"))
POINTS = 72  # an inch
IN_PAGES = [
    (page.relative_to(ROOT), *found)
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for found in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def pictures():
    sys.path.insert(0, str(ROOT / "docs/site"))
    try:
        yield import_module("pictures").pictures()
    finally:
        sys.path.remove(str(ROOT / "docs/site"))
        del sys.modules["pictures"]


def split(svg):
    """The text without numbers and images, its numbers, and its images, [height, width, 4] each."""
    images = re.findall(r'"data:image/png;base64,([^"]*)"', svg)
    text = re.sub(r"[0-9a-f]{10,}|Matplotlib v[\d.]+", "", re.sub(r'"data:image[^"]*"', "", svg))
    number = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGBA"), int) for image in images]
    return re.sub(number, "#", text), np.array(re.findall(number, text), float), pixels


@pytest.mark.parametrize("path", SHIPPED)
def test_a_picture_is_what_its_command_makes_of_the_shipped_data(path, pictures):
    shipped = (ROOT / path).read_text(encoding="utf-8")
    (version,) = re.findall(r"Matplotlib v([\d.]+)", shipped)
    if version != matplotlib.__version__:
        pytest.skip(f"drawn by matplotlib {version}; {matplotlib.__version__} places letters otherwise")
    for before, now in zip(split(shipped), split(pictures[path]()), strict=True):
        if isinstance(now, str):
            assert now == before
        else:
            assert len(now) == len(before)
            assert all(np.allclose(a, b, rtol=1e-4, atol=0.02) for a, b in zip(now, before))


def test_the_command_makes_all_pictures_and_no_others(pictures):
    assert sorted(pictures) == SHIPPED


@pytest.mark.parametrize("path", SHIPPED)
def test_a_picture_is_readable_in_half_a_page_on_light_and_dark_ones(path):
    svg = (ROOT / path).read_text(encoding="utf-8")
    width = float(re.search(r'<svg [^>]*width="([\d.]+)pt"', svg)[1])
    letters = [100 * float(scale) for scale in re.findall(r"scale\(([\d.]+) -\1\)", svg)]
    assert letters
    assert min(letters) * min(1, WIDTH * POINTS / width) >= LETTERS - 0.01
    assert "prefers-color-scheme:dark" in svg
    assert "#000000" not in svg


@pytest.mark.parametrize(("page", "text", "target"), IN_PAGES, ids=[target for _, _, target in IN_PAGES])
def test_a_page_tells_what_a_picture_shows_and_has_no_drawing_of_pixels(page, text, target):
    assert len(text.split()) >= 6
    assert target.endswith((".svg", ".jpg"))


def test_panels_have_labels_at_the_edges_and_a_legend_below():
    figure = page_figure(3)
    first, *_, last = every = panels(figure, ["a", "b", "c"], "across", "up", sharex=True)
    dots(first, [0, 1], [1, 0], "#2f7fc1", "a pair of cells of a long name that does not fit")
    legend_below(first)
    assert [axes.get_xlabel() for axes in every] == ["", "across", "across"]
    assert all(label.label1.get_visible() for label in last.xaxis.get_major_ticks())
    assert figure.get_supylabel() == "up"
    assert not figure.axes[-1].axison
    (legend,) = figure.legends
    assert "\n" in legend.get_texts()[0].get_text()
    assert legend.legend_handles[0].get_alpha() == 1


def test_equal_marks_tell_their_style_once_and_lie_where_they_lay():
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    x = np.linspace(0, 1, 50)
    dots(axes, x, x**2, "#2f7fc1")
    (group,) = re.findall(
        r'<g style="[^"]*">\n((?:<use xlink:href="[^"]*" x="[^"]*" y="[^"]*"/>\n)+)</g>', adaptive_svg(figure)
    )
    places = np.array(re.findall(r'x="([\d.]+)" y="([\d.]+)"', group), float)
    expected = axes.transData.transform(np.stack([x, x**2], 1)) * POINTS / figure.dpi
    expected[:, 1] = 2 * POINTS - expected[:, 1]
    assert np.allclose(places, expected, atol=0.01)
