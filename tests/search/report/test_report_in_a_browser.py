"""The report as a browser shows it: on a phone and a desk, by keyboard and finger, in the dark and on paper."""

import numpy as np
import pytest
from browser import NEEDS_BROWSER, Browser
from made import WHOLE

from search.core.types import Evaluation, Outcome
from search.encoders import build_encoder, save_encoder
from search.record.study import Proposal, Study
from search.report.report import write_report
from search.spaces.dag import build_space

pytestmark = NEEDS_BROWSER
LONG = "without_a_break_" + "x" * 90
SPACE = {"type": "dag", "num_nodes": 6}
HEADS = 'document.querySelectorAll("table.sortable thead th")'


def recorded(directory, cells, outcome, predicted=None):
    """The work directory of a search of `cells` in rounds of 10; outcome: id -> error, or whether it was stopped early, or None
    where it is pending."""
    settings = {**WHOLE, "seed": 5, "penalty": 0.0, "space": SPACE, "predictor": {"type": "mlp", "steps": 5}}
    settings["data"] = {"root": f"/{LONG}"}
    rng = np.random.default_rng(0)
    with Study(directory, settings, {}) as study:
        for index in range(-(-len(cells) // 10)):
            some = cells[10 * index : 10 * index + 10]
            guess = [float(rng.random()) if index else None for _ in some]
            proposals = [Proposal(c, c.pruned().digest(), 0, 10**7, 10**6, 1.5, g) for c, g in zip(some, guess)]
            done = sum(isinstance(outcome(i), bool) for i in range(1, 10 * index + 1))
            study.propose(index, proposals, {"evaluated": done, "kendall_tau": 0.1} if index else {})
        for r in study.records():
            found = outcome(r.id)
            score = float(rng.random())
            if isinstance(found, str):
                study.finish(Outcome(r.id, error=found), None)
            elif found is not None:
                study.finish(Outcome(r.id, Evaluation(score, (score,), found, 1.0)), score)
    return directory


@pytest.fixture(scope="module")
def drawn():
    """Different cells of the space."""
    space = build_space(**SPACE)
    cells = space.to_cells(space.sample(np.random.default_rng(1), 600))
    return list({cell.pruned().digest(): cell for cell in cells}.values())


@pytest.fixture(scope="module")
def pages(tmp_path_factory, drawn):
    """Reports of searches by name."""
    root = tmp_path_factory.mktemp("pages")
    outcomes = {
        "one": (drawn[:1], lambda i: False),
        "all stopped": (drawn[:3], lambda i: True),
        f"<b>many & {LONG}": (drawn[:40], lambda i: f"memory: {LONG} <i>" if i % 7 == 0 else None if i > 38 else i % 5 == 0),
    }
    found = {}
    for name, (cells, outcome) in outcomes.items():
        (root / name).mkdir()
        found[name.partition(" & ")[0]] = write_report(recorded(root / name, cells, outcome))
    learned = root / "learned"
    learned.mkdir()
    encoder = build_encoder("adjacency", build_space(**SPACE))
    encoder.fit(0)
    save_encoder(learned / "encoder", encoder)
    found["learned"] = write_report(recorded(learned, drawn[:20], lambda i: i % 6 == 0))
    return found


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("name", ["one", "all stopped", "<b>many", "learned"])
def test_the_page_never_scrolls_sideways_and_complains_of_nothing(browser, pages, name, width):
    browser.open(pages[name], width)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    parts = "[...document.querySelectorAll('main > *, figure, img, #cell')]"
    assert browser.value(f"{parts}.every(part => part.getBoundingClientRect().right <= innerWidth)")
    assert browser.value("document.querySelectorAll('h1 b').length") == 0  # the name is text
    assert not browser.complaints()


def test_wide_tables_scroll_in_boxes_that_the_keyboard_reaches(browser, pages):
    browser.open(pages["<b>many"], 390)
    boxes = "[...document.querySelectorAll('.box')]"
    assert browser.value(f"{boxes}.every(box => box.tabIndex === 0 && box.getAttribute('aria-label'))")
    last = f"{boxes}.at(-1)"
    assert browser.value(f"{last}.scrollWidth > {last}.clientWidth")
    browser.value(f"{last}.focus()")
    browser.value(f"{last}.scrollLeft = 200")
    place = f"{last}.querySelector('tbody th').getBoundingClientRect().left - {last}.getBoundingClientRect().left"
    assert browser.value(place) == 0  # which cell a row is of stays in sight


def column(browser, index):
    rows = '[...document.querySelectorAll("table.sortable tbody tr")]'
    return browser.value(f"{rows}.map(row => row.cells[{index}].textContent)")


@pytest.mark.parametrize(("key", "index"), [("Enter", 4), (" ", 3), ("Enter", 0), (" ", 2)])
def test_the_keyboard_sorts_by_any_column(browser, pages, key, index):
    browser.open(pages["<b>many"], 1280)
    before = column(browser, index)
    kind = float if index in (3, 4) else str
    given = [value for value in before if value]
    empty = [""] * (len(before) - len(given))
    browser.value(f"{HEADS}[{index}].querySelector('button').focus()")
    for order in ("descending", "ascending", "descending"):
        browser.press(key)
        assert column(browser, index) == sorted(given, key=kind, reverse=order == "descending") + empty
        told = browser.value(f"[...{HEADS}].map(head => head.getAttribute('aria-sort'))")
        assert told == [order if i == index else None for i in range(11)]


def test_the_tab_key_reaches_every_control_and_shows_where_it_is(browser, pages):
    browser.open(pages["learned"], 1280)
    reached, focused = [], "document.activeElement"
    label = f"{focused}.tagName === 'BUTTON' ? {focused}.textContent : {focused}.getAttribute('aria-label')"
    kind = f"{focused}.dataset.cell ? 'dot' : {label}"
    for _ in range(30):
        browser.press("Tab")
        if browser.value(f"{focused} === document.body"):
            break
        reached.append(browser.value(kind))
        look = f"getComputedStyle({focused})"
        seen = f"{look}.outlineStyle !== 'none' && parseFloat({look}.outlineWidth) >= 2"
        assert browser.value(f"{focused}.dataset.cell ? {look}.strokeWidth === '5px' || {look}.strokeWidth === '4px' : {seen}")
    assert reached.count("dot") == 1  # arrows go on from there
    heads = ["cell", "round", "state", "predicted", "score", "accuracy", "cost", "proxy MACs (M)", "epochs", "seconds", "error"]
    assert reached == ["Best cells", "Pareto front", "dot", "Predictors", "All evaluations", *heads, "Settings"]


def test_arrows_step_through_the_dots_and_each_shows_its_cell(browser, pages):
    browser.open(pages["learned"], 1280)
    titles = browser.value("[...document.querySelectorAll('circle[data-cell] title')].map(title => title.textContent)")
    told = "document.querySelector('#cell p').textContent"
    chosen = "[...document.querySelectorAll('circle[aria-selected=true]')].map(dot => +dot.dataset.cell)"
    start = browser.value(chosen)[0]
    assert browser.value("document.querySelector('circle.best').dataset.cell") == str(start)
    assert browser.value(told) == titles[start]
    browser.value("document.querySelector('circle.best').focus()")
    for key, place in (("End", -1), ("ArrowRight", -1), ("ArrowLeft", -2)):
        browser.press(key)
        place %= len(titles)
        assert (browser.value(told), browser.value(chosen)) == (titles[place], [place])
    operators = browser.value("[...document.querySelectorAll('#cell [data-colour]:not([hidden]) i')].map(i => i.textContent)")
    nodes = browser.value("document.querySelectorAll('#cell svg text').length")
    assert sorted(int(v) for numbers in operators for v in numbers.split(", ")) == list(range(nodes))


def test_a_finger_beside_a_dot_means_the_nearest_one(browser, pages):
    browser.open(pages["learned"], 390)
    browser.value("document.querySelector('.surface').scrollIntoView()")
    places = "[...document.querySelectorAll('circle[data-cell]')].map(dot => dot.getBoundingClientRect())"
    points = browser.value(f"{places}.map(box => [box.x + box.width / 2, box.y + box.height / 2])")
    apart = [min(np.hypot(x - u, y - v) for j, (u, v) in enumerate(points) if j != i) for i, (x, y) in enumerate(points)]
    lone = int(np.argmax(apart))
    x, y = points[lone]
    browser.tap(x + min(12, 0.4 * apart[lone]), y)
    assert browser.value("document.querySelector('circle[aria-selected=true]').dataset.cell") == str(lone)


def luminance(colour):
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_are_readable_in_the_light_and_in_the_dark(browser, pages, scheme):
    browser.open(pages["learned"], 390, prefers_color_scheme=scheme)
    back = luminance(browser.value("getComputedStyle(document.body).backgroundColor"))
    assert (back < 0.1) is (scheme == "dark")
    for what in ("p", "figcaption", "td", "thead button", "h2", "#cell p"):
        front = luminance(browser.value(f"getComputedStyle(document.querySelector('{what}')).color"))
        bright, dim = max(front, back), min(front, back)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, what  # WCAG 2.2, 1.4.3
        assert browser.value(f"parseFloat(getComputedStyle(document.querySelector('{what}')).fontSize)") >= 14


def test_on_paper_nothing_is_cut_off(browser, pages):
    browser.open(pages["<b>many"], 760, medium="print", prefers_color_scheme="dark")
    assert browser.value("[...document.querySelectorAll('.box, pre')].every(e => e.scrollWidth <= e.clientWidth)")
    assert luminance(browser.value("getComputedStyle(document.body).backgroundColor")) == pytest.approx(1)
