import itertools
import random
import xml.etree.ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from gemnet.cell import Cell
from gemnet.drawing import draw_cell, draw_on
from gemnet.drawing.colours import KNOWN, operator_colours
from gemnet.drawing.layout import layered
from gemnet.operators import LABELS, OPERATORS

SMALLEST = Cell(("input", "conv1x1"), ((0, 1),))
WITH_DROPPED = Cell(("input", "conv1x1", "conv3x3", "sepconv3x3"), ((0, 2), (1, 2), (1, 3)))
CHAIN = Cell(("input", *["conv1x1"] * 99), tuple((v, v + 1) for v in range(99)))
STAR = Cell(("input", *["conv1x1"] * 99), tuple((0, v) for v in range(1, 100)))


@pytest.fixture(scope="module")
def cells(random_cell):
    rng = random.Random(0)
    return [SMALLEST, WITH_DROPPED, random_cell(rng, 30, 0.1), random_cell(rng, 30, 0.4), random_cell(rng, 200, 0.02)]


def is_drawn(colour, pixels):
    wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return any(max(abs(a - b) for a, b in zip(wanted, pixel, strict=True)) < 3 for _, pixel in pixels)


@pytest.mark.parametrize("i", range(5))
def test_a_cell_is_drawn_to_png_in_the_colours_of_its_live_operators(cells, i, tmp_path):
    cell = cells[i]
    draw_cell(cell, tmp_path / "cell.png")
    with Image.open(tmp_path / "cell.png") as image:
        assert image.format == "PNG"
        assert 300 < image.width < 8000
        assert 150 < image.height < 8000
        pixels = image.convert("RGB").getcolors(image.width * image.height)
    live = {cell.nodes[v] for v in cell.live_nodes}
    assert {name for name, colour in KNOWN.items() if is_drawn(colour, pixels)} == live


@pytest.mark.parametrize("i", range(4))
def test_a_cell_is_drawn_to_well_formed_svg(cells, i, tmp_path):
    draw_cell(cells[i], tmp_path / "cell.SVG")
    root = xml.etree.ElementTree.parse(tmp_path / "cell.SVG").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > len(cells[i].nodes)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_cell_gives_the_same_file(tmp_path, suffix):
    for name in ("one", "two"):
        draw_cell(WITH_DROPPED, tmp_path / (name + suffix))
    assert (tmp_path / ("one" + suffix)).read_bytes() == (tmp_path / ("two" + suffix)).read_bytes()


@pytest.mark.parametrize("name", ["cell.jpg", "cell", "cell.png.txt", ".png"])
def test_another_ending_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"drawn to \.png or \.svg, not to "):
        draw_cell(SMALLEST, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cell", [CHAIN, STAR], ids=["chain", "star"])
def test_a_very_long_or_wide_cell_fits_into_a_picture(cell, tmp_path):
    draw_cell(cell, tmp_path / "cell.png")
    with Image.open(tmp_path / "cell.png") as image:
        assert 5000 < max(image.size) < 7000


def test_a_cell_with_too_many_edges_to_see_is_drawn_without_them(monkeypatch):
    complete = Cell(("input", *["conv1x1"] * 29), tuple(itertools.combinations(range(30), 2)))
    assert layered(complete).lines
    monkeypatch.setattr("gemnet.drawing.layout.MAX_POINTS", 300)
    assert not layered(complete).lines
    axes = Figure().subplots()
    draw_on(axes, complete)
    assert "435 edges: too many to draw" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_legend_names_live_operators_leaves_and_dropped_nodes():
    axes = Figure().subplots()
    draw_on(axes, WITH_DROPPED)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["input", "conv3x3", "leaf: part of the output", "dropped: not reached"]


def test_every_operator_has_a_colour_of_its_own():
    colours = operator_colours(["output", *LABELS, *OPERATORS, "input"])
    assert list(colours) == ["input", *OPERATORS, *LABELS]
    assert len(set(colours.values())) == len(colours)


def test_data_flow_downwards_and_lines_lead_along_every_edge_and_no_other(random_cell):
    rng = random.Random(1)
    for _ in range(40):
        cell = random_cell(rng, rng.randint(2, 30), rng.uniform(0.05, 0.5))
        layout = layered(cell)
        assert set(layout.nodes) == set(cell.live_nodes)
        assert layout.nodes[0] == (0, 0)
        at = {place: v for v, place in layout.nodes.items()}
        assert len(at) == len(layout.nodes)
        led = set()
        for source in cell.live_nodes:  # follow the lines of one node to the nodes where they end
            lines = [line for line in layout.lines if line.source == source]
            assert all(line.end[1] == line.start[1] + 1 for line in lines)
            reached = [layout.nodes[source]]
            for place in reached:
                ends = [line.end for line in lines if line.start == place]
                led |= {(source, at[end]) for end in ends if end in at}
                reached += [end for end in ends if end not in at]
            assert {line.start for line in lines} <= set(reached)
        assert led == {(u, v) for u, v in cell.edges if u in set(cell.live_nodes)}


def test_neighbours_in_a_layer_keep_their_distance(random_cell):
    rng = random.Random(2)
    for _ in range(20):
        layout = layered(random_cell(rng, 30, rng.uniform(0.05, 0.4)))
        for one, two in itertools.combinations(layout.nodes.values(), 2):
            assert one[1] != two[1] or abs(one[0] - two[0]) > 0.999
        for line in layout.lines:  # nor does a bus run through a node
            for x, layer in layout.nodes.values():
                assert layer != line.end[1] or line.end[0] == x or abs(x - line.end[0]) > 0.6
