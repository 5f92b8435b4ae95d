"""Pictures suit light and dark pages."""

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from gemnet.drawing.colours import KNOWN
from gemnet.drawing.palette import INK, SERIES, adaptive_svg, save_svg


def figure():
    made = Figure(figsize=(3, 2))
    axes = made.subplots()
    axes.plot([0, 1], [1, 0], color=SERIES[0], label="line")
    axes.set(xlabel="across", ylabel="up")
    axes.legend()
    return made


def luminance(colour):
    """Relative luminance of WCAG 2, 0 for black and 1 for white."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_letters_and_axes_follow_the_pages_colours_and_nothing_is_behind_them(tmp_path):
    svg = adaptive_svg(figure())
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    styles = re.findall(r'style="([^"]*)"', svg)
    assert any("currentColor" in style for style in styles)
    assert not any("#000000" in style for style in styles)
    opaque = [style for style in styles if "fill: #ffffff" in style and "opacity: 0" not in style]
    assert not opaque
    assert svg.count("prefers-color-scheme:dark") == 1
    save_svg(figure(), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == svg


def test_every_colour_is_told_from_white_and_from_black():
    """WCAG 2 asks graphics for 3 to 1; the lightest and darkest here have at least 2."""
    for colour in SERIES:
        assert min(contrast(colour, "#ffffff"), contrast(colour, "#0d1117")) >= 2, colour
    assert contrast(INK["light"], "#ffffff") >= 7
    assert contrast(INK["dark"], "#0d1117") >= 7


def test_the_operators_of_the_paper_have_the_first_colours_of_the_palette():
    assert (KNOWN["conv1x1"], KNOWN["sepconv3x3"]) == SERIES[:2]
