import base64
import itertools
import json
import re
import shutil
import sqlite3
import statistics
import subprocess
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import NEEDS_BROWSER
from made import WHOLE

from gemnet.cell import Cell
from search.cli.records import records_command
from search.core.types import Evaluation, Outcome, SearchError
from search.encoders import build_encoder, save_encoder
from search.predictors import build_predictor
from search.predictors.cross_validation import cross_validated_predictions
from search.predictors.ensemble import EnsemblePredictor
from search.record.study import DONE, Proposal, Study, read_study
from search.report.dynamics import DRAWN, calibration, learning_dynamics, rank_correlations
from search.report.report import write_report
from search.report.result import with_provenance
from search.spaces.dag import build_space, prune

SPACE = {"type": "dag", "num_nodes": 6}
PLAIN = {"type": "mlp", "steps": 20}
ENSEMBLE = {"type": "ensemble", "trees": 6}


def cell(i: int) -> Cell:
    return Cell(("input", *["conv1x1", "sepconv3x3"] * (i + 1)), tuple((v, v + 1) for v in range(2 * i + 2)))


@pytest.fixture
def work_dir(tmp_path):
    """A search of two rounds: 3 + 3 candidates, of which one failed, one was stopped early and one is pending."""
    settings = {**WHOLE, "penalty": 0.0, "data": {"root": "<script>alert(1)</script>"}}  # a score is an accuracy
    with Study(tmp_path, settings, {}) as study:
        for index in range(2):
            note = {"evaluated": 3, "kendall_tau": 0.5, "lipschitz": 2.0, "input_variance": 3.0, "variance": 1.0, "bound": 12.0}
            proposals = [
                Proposal(cell(i), cell(i).digest(), i, 1000 * (i + 1), 10, 0.5, 0.1 * i if index else None)
                for i in range(3 * index, 3 * index + 3)
            ]
            study.propose(index, proposals, note if index else {})
        for r in study.records()[:4]:
            study.finish(Outcome(r.id, Evaluation(0.1 * r.id, (0.05, 0.1 * r.id), r.id == 2, 1.0)), 0.1 * r.id)
        study.finish(Outcome(5, error="the loss is NaN & more"), None)
    return tmp_path


def search(directory, space=SPACE, encoder=None, predictor=PLAIN, rounds=3):
    """A search of rounds of 6 cells each, with scores and predictions at random; the last of a round was stopped early.

    encoder: by name and settings, the adjacency if None.
    """
    settings = {**WHOLE, "penalty": 0.0, "seed": 5, "space": space, "predictor": predictor}
    built = build_space(**space)
    cells = iter({c.pruned().digest(): c for c in built.to_cells(built.sample(np.random.default_rng(1), 400))}.values())
    trained = build_encoder(space=built, **(encoder or {"type": "adjacency"}))
    trained.fit(0)
    save_encoder(directory / "encoder", trained)
    rng = np.random.default_rng(2)
    with Study(directory, settings, {}) as study:
        for index in range(rounds):
            proposals = [
                Proposal(cell, cell.pruned().digest(), 0, 1000, 10, 1.5, float(rng.random()) if index else None)
                for cell in itertools.islice(cells, 6)
            ]
            study.propose(index, proposals, {"evaluated": 6 * index, "kendall_tau": 0.1 * index} if index else {})
        for r in study.records():
            accuracy = float(rng.random())
            study.finish(Outcome(r.id, Evaluation(accuracy, (accuracy,), r.id % 6 == 0, 1.0)), accuracy)
    return directory


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return search(tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="module")
def page(learned):
    """The text of its report."""
    return write_report(learned).read_text()


class Sources(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]


class Surface(HTMLParser):
    """dots: the attributes of each, with its title. drawings: what the page's script draws. plot: the surface as SVG text."""

    def __init__(self, text):
        super().__init__()
        self.dots, self.drawings, self.plot, self._open = [], "", "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self._open = attributes.get("id") if tag == "script" else tag
        if "data-cell" in attributes:
            self.dots.append({**attributes, "title": ""})
        if tag == "image":
            self.plot = base64.b64decode(attributes["href"].split(",", 1)[1]).decode()

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open == "title" and self.dots:
            self.dots[-1]["title"] += data
        if self._open == "drawings":
            self.drawings = json.loads(data)


def test_the_report_holds_everything_itself_and_escapes_what_it_is_given(work_dir):
    text = write_report(work_dir).read_text()
    sources = Sources()
    sources.feed(text)
    assert len(sources.found) == 4 + 3 + 1  # the four cells that were evaluated, three plots, and the rank correlation
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources.found)
    assert all(b"<svg" in base64.b64decode(source.split(",", 1)[1]) for source in sources.found)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "the loss is NaN &amp; more" in text
    assert "4 candidates evaluated (1 stopped early, 1 failed, 1 pending)" in text


def test_the_best_cell_is_one_that_was_not_stopped(work_dir):
    assert "<b>0.4000</b>" in write_report(work_dir).read_text()


def test_a_search_without_results_is_told(tmp_path):
    with pytest.raises(SearchError, match="holds no search"):
        write_report(tmp_path)
    Study(tmp_path, WHOLE, {}).__exit__()
    with pytest.raises(SearchError, match="nothing to report"):
        write_report(tmp_path)


def test_the_dots_on_the_surface_are_the_cells_evaluated_to_the_end(learned, page):
    surface = Surface(page)
    evaluated = [r for r in read_study(learned).records if not r.stopped]
    assert len(evaluated) == 15
    assert [dot["title"] for dot in surface.dots] == [
        f"{r.digest[:8]}: round {r.round}, score {r.score:.4f}, accuracy {r.accuracy:.4f}, cost 1.5" for r in evaluated
    ]
    assert [dot["data-cell"] for dot in surface.dots] == [str(i) for i in range(15)]
    assert all(dot["tabindex"] == "0" for dot in surface.dots)
    (best,) = [r for r, dot in zip(evaluated, surface.dots) if dot["class"] == "best"]
    assert best.score == max(r.score for r in evaluated)


def test_what_a_dot_draws_is_its_cell(learned, page):
    surface = Surface(page)
    cells = [r.cell.pruned() for r in read_study(learned).records if not r.stopped]
    assert len(surface.drawings) == len(cells)
    for cell, drawing in zip(cells, surface.drawings):
        left, top, width, height = drawing["box"]
        colours = {name: {n[2] for n, other in zip(drawing["nodes"], cell.nodes) if other == name} for name in cell.nodes}
        assert len(drawing["nodes"]) == len(cell.nodes)
        assert all(len(found) == 1 for found in colours.values())
        assert [v for v, node in enumerate(drawing["nodes"]) if node[3]] == list(cell.leaves)
        assert all(left < x < left + width and top < y < top + height for x, y, *_ in drawing["nodes"])
        ends = {(x, y + 30): v for v, (x, y, *_) in enumerate(drawing["nodes"])}  # a line ends at the upper rim of its node
        reached = {ends[x, y + 60] for *_, x, y in drawing["lines"] if (x, y + 60) in ends}
        assert reached == set(range(1, len(cell.nodes)))
        assert {line[0] for line in drawing["lines"]} == {u for u, _ in cell.edges}


def test_a_dot_lies_where_the_axes_of_the_plot_say(learned, page):
    surface = Surface(page)
    places = learning_dynamics(read_study(learned), learned).places
    plot = surface.plot.split('<g id="axes_2">')[0]  # that of the colour bar
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', plot).groups())
    for axis, (name, attribute, share) in enumerate((("x", "cx", 640 / width), ("y", "cy", 480 / height))):
        tick = rf'<g id="{name}tick_\d+">.*?<use [^>]*? {name}="([\d.]+)".*?<!-- (\S+) -->'
        found = [(float(pixel), float(value.replace("\u2212", "-"))) for pixel, value in re.findall(tick, plot, re.S)]
        pixels, values = zip(*found)
        scale, offset = np.polyfit(values, pixels, 1)
        assert len(found) >= 3
        expected = (scale * places[:, axis] + offset) * share
        assert np.abs([float(dot[attribute]) for dot in surface.dots] - expected).max() < 0.2


def test_the_plane_is_that_of_the_drawn_cells_principal_components(learned):
    dynamics = learning_dynamics(read_study(learned), learned)
    space = build_space(**SPACE)
    encoder = build_encoder("adjacency", space)
    drawn = encoder.embed(prune(space.sample(np.random.default_rng(5), DRAWN))).astype(np.float64)
    evaluated = encoder.embed(prune(space.from_cells([r.cell for r in dynamics.evaluated]))).astype(np.float64)
    _, length, directions = np.linalg.svd(drawn - drawn.mean(0), full_matrices=False)
    for found, vectors in ((dynamics.drawn, drawn), (dynamics.places, evaluated)):
        np.testing.assert_allclose(np.abs(found), np.abs((vectors - drawn.mean(0)) @ directions[:2].T), atol=1e-6)
    assert dynamics.variance == pytest.approx((length[:2] ** 2).sum() / (length**2).sum())


def test_predictions_of_the_evaluated_cells_are_cross_validated(learned):
    dynamics = learning_dynamics(read_study(learned), learned)
    space = build_space(**SPACE)
    x = build_encoder("adjacency", space).encode(prune(space.from_cells([r.cell for r in dynamics.evaluated])))
    build = partial(build_predictor, **PLAIN)
    np.testing.assert_array_equal(dynamics.held_out, cross_validated_predictions(build, x, dynamics.measured, 5))
    assert dynamics.deviation is None
    assert dynamics.within(1) is None


def test_the_shares_within_one_and_two_deviations_are_those_of_the_predictions(tmp_path):
    text = write_report(search(tmp_path, predictor=ENSEMBLE)).read_text()
    dynamics = learning_dynamics(read_study(tmp_path), tmp_path)
    space, scores = build_space(**SPACE), dynamics.measured
    x = build_encoder("adjacency", space).encode(prune(space.from_cells([r.cell for r in dynamics.evaluated])))
    near = []
    for fold in np.array_split(np.random.default_rng(5).permutation(15), 5):
        rest = np.array([i for i in range(15) if i not in fold])
        predictor = EnsemblePredictor(trees=6)
        predictor.fit(x[rest], scores[rest], 5)
        mean, deviation = predictor.predict_with_std(x[fold])
        near += (np.abs(scores[fold] - mean) / deviation).tolist()
    shares = [sum(distance <= k for distance in near) / 15 for k in (1, 2)]
    assert [dynamics.within(1), dynamics.within(2)] == pytest.approx(shares)
    assert f"{shares[0]:.0%} of the measured scores lie within 1 and {shares[1]:.0%} within 2 predicted deviations" in text


@pytest.mark.parametrize(("count", "sizes"), [(5, [3, 2]), (9, [3, 2, 2, 2]), (23, [5, 5, 5, 4, 4])])
def test_bins_of_the_calibration_hold_equally_many_cells_in_the_order_of_prediction(count, sizes):
    predicted, measured = np.random.default_rng(3).random((2, count))
    pairs = iter(sorted(zip(predicted.tolist(), measured.tolist())))
    bins = calibration(predicted, measured)
    assert [b.count for b in bins] == sizes
    for b in bins:
        of_bin = [next(pairs) for _ in range(b.count)]
        assert b.predicted == pytest.approx(statistics.fmean(p for p, _ in of_bin))
        assert b.measured == pytest.approx(statistics.fmean(m for _, m in of_bin))
        assert b.deviation == pytest.approx(statistics.pstdev(m for _, m in of_bin))


def test_rank_correlations_are_those_of_the_notes_and_of_concordant_pairs(learned, work_dir):
    snapshot = read_study(learned)
    held_out, fresh = rank_correlations(snapshot)
    assert held_out == {1: 0.1, 2: 0.2}
    assert sorted(fresh) == [1, 2]
    for index, tau in fresh.items():
        pairs = list(itertools.combinations([r for r in snapshot.records if r.round == index], 2))
        signs = [np.sign((a.predicted - b.predicted) * (a.score - b.score)) for a, b in pairs]
        assert tau == pytest.approx(sum(signs) / len(signs))
    assert rank_correlations(read_study(work_dir)) == ({1: 0.5}, {})  # one cell of its round 1 has a score


def test_the_report_of_one_round_tells_that_no_predictor_was_trained(tmp_path):
    text = write_report(search(tmp_path, rounds=1)).read_text()
    assert "No rank correlation over the rounds: no predictor was trained yet." in text
    assert len(Surface(text).dots) == 5


def without_encoder(directory):
    shutil.rmtree(search(directory) / "encoder")


def with_a_damaged_encoder(directory):
    (search(directory) / "encoder" / "encoder.json").write_text("<b>{")


def without_its_table(directory):
    search(directory)
    change_settings(directory, space={"type": "nasbench201", "data": str(directory / "gone.npz")})


def with_a_predictor_that_cannot_be_trained(directory):
    search(directory, predictor={"type": "mlp", "hidden": [10**14]})  # more than any memory holds


def change_settings(directory, **changes):
    settings = {**read_study(directory).settings, **changes}
    with sqlite3.connect(directory / "study.sqlite") as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'settings'", (json.dumps(settings),))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (without_encoder, "^the encoder is not trained yet$"),
        (with_a_damaged_encoder, "cannot be read as an encoder's description"),
        (without_its_table, "gone.npz does not exist; name the file or its folder by GEMNET_DATA, by space.data"),
        (
            with_a_predictor_that_cannot_be_trained,
            r"predictor cannot be trained on this record \(RuntimeError",
        ),
    ],
)
def test_what_is_missing_for_the_surface_is_told(tmp_path, made, reason):
    made(tmp_path)
    with pytest.raises(SearchError, match=reason):
        learning_dynamics(read_study(tmp_path), tmp_path)


def test_where_there_is_no_surface_the_report_says_why_and_tells_the_rest(tmp_path):
    search(tmp_path)
    change_settings(tmp_path, space={"type": "nasbench201", "data": "<script>alert(2)</script>"})
    text = write_report(tmp_path).read_text()
    reason = "&lt;script&gt;alert(2)&lt;/script&gt; does not exist"
    for name in ("learning dynamics", "calibration of the predictor"):
        assert re.search(f"<p>No {name}: {re.escape(reason)}[^<]*[.]</p>", text)
    assert "<script>alert" not in text
    assert not Surface(text).dots
    assert "Rank correlation of the predictor over the rounds" in text


def test_too_few_evaluations_for_a_predictor_are_told(work_dir):
    with pytest.raises(SearchError, match="3 cells are evaluated to the end, 5 are needed"):
        learning_dynamics(read_study(work_dir), work_dir)


def test_a_hostile_record_cannot_break_out_of_dots_and_drawings(tmp_path, monkeypatch):
    snapshot = read_study(search(tmp_path))  # no record of a hostile digest can be read
    hostile = [replace(r, digest="</script" + "<img>" * r.id) for r in snapshot.records]
    monkeypatch.setattr("search.report.report.read_record", lambda place: replace(snapshot, records=hostile))
    text = write_report(tmp_path).read_text()
    surface = Surface(text)
    assert len(surface.dots) == len(surface.drawings) == 15
    assert all(dot["title"].startswith("</script: round") for dot in surface.dots)
    assert "<img>" not in text
    assert text.count("</script") == text.count("</script>") == text.count("<script") == 2


def test_the_same_record_gives_the_same_report(learned, page):
    assert write_report(learned).read_text() == page


def test_the_report_of_a_search_in_a_table_has_its_surface(tmp_path):
    codes = np.random.default_rng(0).choice(5**6, 100, replace=False)
    operators = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    table = {
        "ops": (codes[:, None] // 5 ** np.arange(6) % 5).astype(np.uint8),
        "op_names": np.array(operators),
        "cifar10_val": np.linspace(10, 90, 100, dtype=np.float32),
        "cifar10_test": np.linspace(10, 90, 100, dtype=np.float32),
        "cifar10_params": np.full(100, 73306, np.int32),
    }
    np.savez_compressed(tmp_path / "made.npz", **table)
    space = {"type": "nasbench201", "data": str(tmp_path / "made.npz")}
    encoder = {"type": "statistics", "dropped": ["none"], "cells": True}
    text = write_report(search(tmp_path, space, encoder, ENSEMBLE)).read_text()
    assert len(Surface(text).dots) == 15
    assert all(name in text for name in operators)


def browser(page, directory, action):
    """Chromium's run over the file `page`: what it printed."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    flags += ["--disable-sync", "--no-first-run", f"--user-data-dir={directory / 'profile'}", "--window-size=1200,2400"]
    flags += ["--enable-logging=stderr", "--v=0", action]
    run = subprocess.run(["chromium", *flags, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0
    return run


@pytest.mark.long
@NEEDS_BROWSER
def test_a_real_browser_opens_the_report_and_runs_its_script(work_dir, tmp_path):
    from PIL import Image

    report = write_report(work_dir)
    shot = browser(report, tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    assert not [line for line in shot.stderr.splitlines() if "CONSOLE" in line]  # no script error, nothing that was blocked
    picture = Image.open(tmp_path / "page.png").convert("RGB")
    colours = picture.getcolors(maxcolors=2**24)
    assert len(colours) > 50  # plots and drawings, not a blank page
    page = browser(report, tmp_path, "--dump-dom")
    assert re.search(r'<body data-ready="6">', page.stdout)  # the script ran and saw the six evaluations


@NEEDS_BROWSER
@pytest.mark.parametrize("event", ["mouseover", "focus"])
def test_in_a_real_browser_the_dot_that_is_pointed_at_shows_its_cell(learned, page, tmp_path, event):
    pointed = f'<script>document.querySelectorAll("circle[data-cell]")[3].dispatchEvent(new Event("{event}"))</script></body>'
    (tmp_path / "pointed.html").write_text(page.replace("</body>", pointed))
    shown = browser(tmp_path / "pointed.html", tmp_path, "--dump-dom")
    assert "CONSOLE" not in shown.stderr
    panel = re.search(r'<div id="cell".*?</div>', shown.stdout, re.S).group()
    r = [r for r in read_study(learned).records if r.state == DONE and not r.stopped][3]
    assert f"<p>{r.digest[:8]}: round {r.round}, score {r.score:.4f}, accuracy {r.accuracy:.4f}, cost 1.5</p>" in panel
    assert re.findall(r"<text [^>]*>(\d+)</text>", panel) == [str(v) for v in range(len(r.cell.pruned().nodes))]


class Parts(HTMLParser):
    """images: alt texts. heads: scopes of header cells. rows: texts of the rows of each table."""

    def __init__(self, text):
        super().__init__()
        self.images, self.heads, self.rows, self._cells = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "img":
            self.images.append(attributes.get("alt"))
        if tag == "th":
            self.heads.append(attributes.get("scope"))
        if tag == "table":
            self.rows.append([])
        if tag == "tr":
            self.rows[-1].append([])
        if tag in ("td", "th"):
            self.rows[-1][-1].append("")
            self._cells = self.rows[-1][-1]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cells = None

    def handle_data(self, data):
        if self._cells is not None:
            self._cells[-1] += data


def stopped_search(directory, stopped):
    """A search of one round whose candidates were stopped early as `stopped` says."""
    with Study(directory, {**WHOLE, "penalty": 0.0}, {}) as study:
        cells = [cell(i) for i in range(len(stopped))]
        study.propose(0, [Proposal(c, c.digest(), 0, 1000, 10, 0.5, None) for c in cells], {})
        for r, early in zip(study.records(), stopped):
            study.finish(Outcome(r.id, Evaluation(0.1 * r.id, (0.1 * r.id,), early, 1.0)), 0.1 * r.id)
    return directory


def test_a_stopped_candidate_among_the_best_is_said_to_be_one(tmp_path):
    text = write_report(stopped_search(tmp_path, [False, True])).read_text()
    head, first, second = Parts(text).rows[0]
    assert (head[-1], first[-1], second[-1]) == ("note", "", "stopped early")
    assert text.count("accuracy 0.2000, stopped early. Nodes") == 1
    assert "accuracy 0.1000. Nodes: input: 0; conv1x1: 1; sepconv3x3: 2" in text
    assert "The best cell has an efficiency score of <b>0.1000</b>" in text


def test_where_all_were_stopped_early_the_report_and_the_status_say_so(tmp_path, capsys):
    text = write_report(stopped_search(tmp_path, [True, True])).read_text()
    assert "All of them were stopped early; the best of these has an efficiency score of <b>0.2000</b>" in text
    assert "<p>No candidate was evaluated to the end yet.</p>" in text
    assert records_command("status", str(tmp_path)) == 0
    assert "accuracy 0.2000, cost 0.5, stopped early\n" in capsys.readouterr().out
    assert with_provenance(read_study(tmp_path).records[1], WHOLE, "made").provenance["stopped"] is True


def test_the_report_of_one_candidate_says_that_nothing_was_predicted(tmp_path):
    text = write_report(stopped_search(tmp_path, [False])).read_text()
    assert "<p>No score was predicted before its evaluation yet.</p>" in text
    assert "Predicted before against measured" not in text


def test_images_have_texts_and_headers_a_scope(page, learned):
    parts = Parts(page)
    assert len(parts.images) == 4 + 3 + 2
    assert all(parts.images)
    assert len(set(parts.images)) == len(parts.images)
    best = max((r for r in read_study(learned).records if not r.stopped), key=lambda r: r.score)
    edges = ", ".join(f"{u} to {v}" for u, v in best.cell.pruned().edges)
    assert parts.images[0] == f"Drawing of the cell {best.digest[:8]}: {edges}"
    assert set(parts.heads) == {"col", "row"}
    assert all(len({len(row) for row in table}) == 1 for table in parts.rows)
