"""Times of a device: the file that comes back, the prices that a search makes of it, and a search with them."""

import json

import numpy as np
import pytest
from made_tables import compact201

from gemnet.cell import Cell
from gemnet.complexity import fit
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import SearchError, StopSearch
from search.devices.layers import layer_features
from search.devices.times import read_times, whole_network
from search.evaluation.cost import build_cost, build_latency
from search.pipeline import run_search
from search.record.study import DONE
from search.spaces.dag import DagSpace
from search.spaces.nasbench201 import NasBench201Space

MODEL = {"target_macs": 40e6, "resolution": [96, 96], "max_depth": 1, "stem_width": 16}
SPACE = DagSpace(6, density=(0.3, 0.7))
QUIET = Display(quiet=True)


def cells(count, seed=0):
    """Distinct cells of SPACE by digest."""
    drawn = (cell.pruned() for cell in SPACE.to_cells(SPACE.sample(np.random.default_rng(seed), 2000)))
    return dict(list({cell.digest(): cell for cell in drawn}.items())[:count])


def made_time(cell):
    """Of a device where each read element, MAC and node takes its time."""
    found = layer_features(fit(cell, **MODEL).architecture, (96, 96))
    macs, read = (sum(value for name, value in found.items() if name.endswith(kind)) for kind in ("MACs", "read"))
    return 0.5 + macs / 4e7 + read / 2e6 + 0.05 * (found["conv1x1"] + found["sepconv3x3"])


def document(count=40, model=MODEL):
    entries = {}
    for digest, cell in cells(count).items():
        a = fit(cell, **model).architecture
        network = {"widths": list(a.widths), "depths": list(a.depths), "head_width": a.head_width}
        time = {"sha256": "0" * 64, "median": made_time(cell), "spread": 0.1, "runs": 20}
        entries[digest] = {"nodes": list(cell.nodes), "edges": [list(edge) for edge in cell.edges], **network, **time}
    head = {"format": "gemnet.device_times", "version": 1, "device": "Made", "runtime": "onnx", "threads": 1, "clock": "wall"}
    return {**head, "unit": "ms", "network": model, "entries": entries}


@pytest.fixture(scope="module")
def good():
    return document()


@pytest.fixture
def file(good, tmp_path):
    path = tmp_path / "times.json"
    path.write_text(json.dumps(good))
    return path


def table_cost(file, **settings):
    return build_cost(None, MODEL, type="table", space=SPACE, file=str(file), **settings)


def test_a_measured_cell_costs_what_was_measured_whatever_the_order_of_its_nodes(good, file):
    digest, entry = next(iter(good["entries"].items()))
    cost = table_cost(file, max=9.0)
    dead = Cell((*entry["nodes"], "conv1x1"), tuple(map(tuple, entry["edges"])))
    assert cost(dead) == entry["median"]
    assert "milliseconds, Made, onnx" in cost.name
    assert read_times(file).milliseconds[digest] == entry["median"]


@pytest.mark.long
def test_other_cells_are_priced_near_their_time(good, file):
    cost = table_cost(file)
    others = [cell for digest, cell in cells(60).items() if digest not in good["entries"]]
    errors = [abs(cost(cell) / made_time(cell) - 1) for cell in others]
    assert len(errors) == 20
    assert np.median(errors) < 0.05
    assert cost.predictor.held_out.kendall_tau > 0.9
    assert cost(others[0]) == table_cost(file)(others[0])


def test_a_bound_in_milliseconds_takes_the_file_too(good, file):
    digest, cell = next(iter(cells(1).items()))
    latency = build_latency(SPACE, MODEL, 5.0, file=str(file))
    assert latency(cell) == good["entries"][digest]["median"]
    assert latency.max == 5.0


def entry_of(document):
    return next(iter(document["entries"].values()))


def swap(document):
    (a, one), (b, other) = list(document["entries"].items())[:2]
    document["entries"] |= {a: other, b: one}


DAMAGES = {
    "version": (lambda d: d.update(version=2), "version: expected 1, found 2; a file of times is written by"),
    "format": (lambda d: d.pop("format"), "format: expected 'gemnet.device_times', found None"),
    "negative": (
        lambda d: entry_of(d).update(median=-1.0),
        "entry '.*expected a number above 0, found -1.0; time it again",
    ),
    "nan": (
        lambda d: entry_of(d).update(median=float("nan")),
        "entry '.*expected a number above 0, found nan; time it",
    ),
    "infinite": (lambda d: entry_of(d).update(median=float("inf")), "entry '.*found inf; time it again"),
    "text": (lambda d: entry_of(d).update(median="3"), "entry '.*median: expected a number above 0, found '3'"),
    "missing": (lambda d: entry_of(d).pop("median"), "entry '.*'median' is missing"),
    "none": (lambda d: d.update(entries={}), "entries: there are none; time it again"),
    "no object": (lambda d: d["entries"].update({next(iter(d["entries"])): 3}), "entry '.*expected settings by name, found 3"),
    "another cell": (swap, "entry '.*its time is of another cell"),
    "another size": (lambda d: entry_of(d).update(head_width=8), "entry '.*its time is of another size"),
    "edges": (lambda d: entry_of(d).update(edges=[[0, 1, 2]]), "entry '.*no cell"),
    "benchmark": (lambda d: entry_of(d).update(nodes=["input", "nor_conv_3x3"], edges=[[0, 1]]), "entry '.*no cell"),
    "budget": (lambda d: d["network"].update(target_macs=-1), "network: target_macs: expected a number above 0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_in_a_file_is_told_with_file_entry_and_remedy(good, tmp_path, damage):
    change, message = DAMAGES[damage]
    broken = json.loads(json.dumps(good))
    change(broken)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken))
    with pytest.raises(SearchError, match=rf"broken\.json: {message}"):
        read_times(path)


def test_an_entry_that_is_there_twice_is_refused(good, tmp_path):
    digest, entry = next(iter(good["entries"].items()))
    path = tmp_path / "twice.json"
    path.write_text(json.dumps(good)[:-2] + f', "{digest}": {json.dumps(entry)}}}}}')
    with pytest.raises(SearchError, match=rf"twice\.json: '{digest[:10]}.*is there twice; keep one of both entries"):
        read_times(path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe\0", b"{" * 10**5])
def test_what_is_no_file_of_times_is_told(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(SearchError, match=r"other\.json"):
        read_times(path)


def test_times_of_another_network_or_runtime_are_refused(file):
    with pytest.raises(SearchError, match=r"another size: target_macs is 40000000.* there, 50000000.* in this search"):
        build_cost(None, {**MODEL, "target_macs": 50e6}, type="table", space=SPACE, file=str(file))
    with pytest.raises(SearchError, match="times of the runtime 'onnx', wanted are those of 'executorch'; export with --to"):
        table_cost(file, runtime="executorch")
    with pytest.raises(SearchError, match="column: only for a benchmark's cells"):
        table_cost(file, column="pixel")
    assert whole_network({**MODEL, "resolution": (96, 96), "residual": False}) == whole_network(MODEL)


def test_too_few_times_predict_nothing_but_price_their_own_cells(good, tmp_path):
    few = {**good, "entries": dict(list(good["entries"].items())[:5])}
    (tmp_path / "few.json").write_text(json.dumps(few))
    cost = table_cost(tmp_path / "few.json")
    known = list(cells(40).values())
    assert cost(known[0]) == entry_of(good)["median"]
    with pytest.raises(SearchError, match=r"few\.json: times of 5 cells, from which no others are predicted; measure 10"):
        cost(known[-1])


def csv_of(path, rows, value=lambda row: 1 + row / 100):
    path.write_text("row,pixel,other\n" + "".join(f"{row},{value(row)},\n" for row in rows))
    return path


@pytest.fixture
def made201(tmp_path):
    np.savez(tmp_path / "nasbench201.npz", **compact201())
    return tmp_path / "nasbench201.npz"


SMALL201 = {"encoder.sample": 200, "predictor.trees": 5, "search.start": 10, "search.batch": 5, "search.draws": 200}


def search201(data, directory, file, rounds, callbacks=()):
    options = {"space.data": str(data), "cost.type": "table", "cost.file": str(file), "cost.column": "pixel", "cost.max": 3.5}
    settings = load_settings(
        f"{__file__.rpartition('/tests/')[0]}/configs/search/nasbench201.py",
        {**SMALL201, **options, "search.rounds": rounds},
    )
    return run_search(settings, directory, QUIET, callbacks=callbacks)


@pytest.mark.long
def test_a_whole_search_on_a_table_with_a_measured_column_goes_on_as_it_would_have(made201, tmp_path):
    file = csv_of(tmp_path / "latency.csv", range(300))
    whole = search201(made201, tmp_path / "whole", file, 2)
    assert {r.state for r in whole} == {DONE}
    space = NasBench201Space(made201)
    assert all(r.cost == 1 + space.row(r.cell) / 100 <= 3.5 for r in whole)
    seen = []

    def stops(record):
        seen.append(record)
        if len(seen) == 12:
            raise StopSearch

    stopped = search201(made201, tmp_path / "stopped", file, 2, [stops])
    assert sum(r.state == DONE for r in stopped) == 12 < len(whole)
    again = search201(made201, tmp_path / "stopped", file, 2)
    assert [(r.digest, r.score) for r in again] == [(r.digest, r.score) for r in whole]
    csv_of(file, range(300), lambda row: 2 + row / 100)
    with pytest.raises(SearchError, match="sha256"):
        search201(made201, tmp_path / "whole", file, 2)


def test_cells_of_a_table_that_were_not_measured_are_predicted(made201, tmp_path):
    space = NasBench201Space(made201)
    params = space.table.params
    file = csv_of(tmp_path / "latency.csv", range(60), lambda row: 1 + params[row] / 1e6)
    cost = build_cost(None, {}, type="table", space=space, file=str(file), column="pixel")
    rows = range(60, 90)
    predicted = [cost(space.table.cells.cell(row, ("input", *space.table.names))) for row in rows]
    assert np.median(np.abs(np.array(predicted) / (1 + params[60:90] / 1e6) - 1)) < 0.05


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("row,pixel\n1,2\n1,3\n", "line 3: row 1 is there twice; keep one of both lines"),
        ("row,pixel\n1,-2\n", "line 2: pixel of row 1: expected milliseconds, a number above 0, found '-2'"),
        ("row,pixel\n1,nan\n", "line 2: pixel of row 1: .*found 'nan'"),
        ("row,pixel\n300,1\n", "line 2: row: expected one of the benchmark's table, 0 to 299, found '300'"),
        ("row,pixel\n", "no time in column 'pixel'"),
        ("row,pixle\n1,2\n", "column 'pixel' is missing; did you mean 'pixle'"),
        ("pixel\n2\n", "column 'row' is missing"),
        ("row,pixel,pixel\n1,2,3\n", "column 'pixel' is there twice"),
        ("row,pixel\n1\n", "no time in column"),
    ],
)
def test_what_is_wrong_in_a_column_is_told_with_file_line_and_remedy(made201, tmp_path, lines, message):
    (tmp_path / "bad.csv").write_text(lines)
    with pytest.raises(SearchError, match=rf"bad\.csv[,:] {message}"):
        build_cost(None, {}, type="table", space=NasBench201Space(made201), file=str(tmp_path / "bad.csv"), column="pixel")


@pytest.mark.long
def test_a_search_that_trains_counts_the_milliseconds_of_a_device(tmp_path):
    model = {"target_macs": 40e6, "target_params": None}
    times = document(20, model)
    (tmp_path / "times.json").write_text(json.dumps(times))
    options = {
        "model.target_macs": 40e6, "model.target_params": None, "space.num_nodes": 6, "space.density": [0.3, 0.7],
        "cost.type": "table", "cost.file": str(tmp_path / "times.json"), "cost.max": 100.0, "encoder.type": "statistics",
        "predictor.steps": 5, "proxy.epochs": 1, "data.train_per_class": 8, "data.val_per_class": 2, "executor.workers": 1,
        "search.start": 4, "search.batch": 2, "search.rounds": 1, "search.draws": 100,
    }  # fmt: skip
    settings = load_settings(f"{__file__.rpartition('/tests/')[0]}/configs/search/digits.py", options)
    records = run_search(settings, tmp_path / "run", QUIET)
    cost = build_cost(None, model, type="table", space=SPACE, file=str(tmp_path / "times.json"))
    assert [r.state for r in records] == [DONE] * 6
    assert [r.cost for r in records] == [cost(r.cell) for r in records]
    assert any(r.digest not in times["entries"] for r in records)
