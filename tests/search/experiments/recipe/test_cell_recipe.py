"""The study of recipes: kinds of cell at equal MACs, initialisations, the record, the tables, the page."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.cli.calling import Call
from gemnet.complexity import network_cost
from gemnet.core.errors import UserError
from gemnet.core.tables import between
from gemnet.initialisation import BRANCH_SCALE
from gemnet.network import CellModule, GEMNet
from search.cli import recipe as command
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import SearchError
from search.evaluation.proxy import ProxyEvaluator
from search.experiments.recipe import report, run
from search.experiments.recipe.conditions import RULES, Condition, architecture, planned
from search.experiments.recipe.kinds import KINDS

QUIET, ROOT = Display(quiet=True), Path(__file__).parents[4]
OPTIONS = {
    "proxy.macs": 1.5e6, "proxy.epochs": 1, "data.train_per_class": 24, "data.val_per_class": 20, "model.residual": True,
    "executor.workers": 1,
}  # fmt: skip
KIND = "single node"


@pytest.fixture(scope="module")
def settings():
    return load_settings(ROOT / "configs/search/digits.py", OPTIONS)


@pytest.fixture(scope="module")
def evaluator(settings):
    return run.evaluator_for(settings)


def row(kind=KIND, accuracy=0.5, seed=0, **changes):
    return {
        "id": f"{kind} {seed} {sorted(changes.items())}", "kind": kind, "rule": "model", "residual": True, "scheme": "fan_out",
        "learning_rate": 0.3, "epochs": 6, "seed": seed, "widths": [4, 8, 16], "depths": [1, 1, 1], "macs": 3_000_000,
        "params": 1000, "residual_cells": 1, "curve": [accuracy], "accuracy": accuracy, "seconds": 1.0, "machine": "made",
        "finished": "2026-01-01T00:00:00Z", **changes,
    }  # fmt: skip


def test_the_kinds_are_what_their_names_say():
    sizes = {kind: (len(cell.live_nodes), len(cell.edges)) for kind, cell in KINDS.items()}
    assert list(sizes.values()) == [(2, 1), (3, 2), (7, 6), (12, 15), (21, 47)]
    assert KINDS["two branches"].digest() == Cell.shipped("gemnet_a").digest()


@pytest.mark.parametrize("rule", RULES)
def test_networks_of_all_kinds_have_at_most_the_macs_and_nearly_as_many(rule, evaluator):
    reached = []
    for kind in KINDS:
        network = architecture(Condition(kind, rule, True, "fan_out", 0.3, 1, 0), evaluator)
        assert network.residual
        reached.append(network_cost(network, (8, 8), 10, 1).macs / 1.5e6)
        assert not architecture(Condition(kind, rule, False, "fan_out", 0.3, 1, 0), evaluator).residual
    assert max(reached) <= 1
    assert min(reached) >= (0.7 if rule == "model" else 0.85)


def test_a_condition_of_the_search_itself_trains_as_the_search_does(settings, evaluator):
    condition = Condition(KIND, "model", True, "fan_out", evaluator.settings.learning_rate, evaluator.settings.epochs, 5)
    training = run.Training(0, condition, architecture(condition, evaluator))
    proxy = ProxyEvaluator(evaluator.data, evaluator.settings, evaluator.model)
    assert evaluator.evaluate(training).curve == proxy.evaluate(run.Job(0, KINDS[KIND], 5)).curve


def network(scheme=None, cell=None):
    torch.manual_seed(0)
    cell = cell or Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (1, 2)))
    found = GEMNet(Architecture(cell, (64, 64), (2, 2), stem_width=64, head_width=0, residual=True), 10)
    if scheme:
        torch.manual_seed(0)
        found.init_weights(scheme)
    return found


def test_the_default_initialisation_is_that_by_fan_out():
    built, named = network(), network("fan_out")
    torch.manual_seed(0)
    for module in built.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            assert torch.equal(
                torch.empty_like(module.weight).normal_(std=(2 / fan_out) ** 0.5), named.get_parameter(name(module, built))
            )
        elif isinstance(module, nn.Linear):
            assert torch.equal(torch.empty_like(module.weight).normal_(std=0.01), named.classifier.weight)
    torch.manual_seed(0)
    built.init_weights()
    assert all(torch.equal(value, named.state_dict()[key]) for key, value in built.state_dict().items())


def name(module, network):
    """Of a convolution's weight in the network."""
    return next(f"{key}.weight" for key, one in network.named_modules() if one is module)


def test_each_scheme_draws_weights_of_the_size_that_it_says():
    def deviations(scheme):
        built = network(scheme)
        convs = [m for m in built.stages.modules() if isinstance(m, nn.Conv2d)]
        return {(m.groups, m.kernel_size[0]): m.weight.std().item() for m in convs}

    wide, deep = (1, 1), (64, 3)
    assert deviations("fan_out")[wide] == pytest.approx((2 / 64) ** 0.5, rel=0.1)
    assert deviations("fan_in")[deep] == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    assert deviations("pytorch")[wide] == pytest.approx((1 / 3 / 64) ** 0.5, rel=0.1)


def test_small_branches_scale_the_last_normalisation_of_residual_cells_alone():
    built, plain = network("small_branch"), network("fan_out")
    cells = [m for m in built.modules() if isinstance(m, CellModule)]
    assert {cell.residual for cell in cells} == {True}
    for cell in cells:
        scales = [node.operator.bn.weight.unique().tolist() for node in cell.nodes]
        assert scales == [[1.0], [pytest.approx(BRANCH_SCALE)]]
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in built.state_dict().items() if ".conv." in k)
    with pytest.raises(UserError, match="'he': expected one of fan_out, fan_in, pytorch, small_branch"):
        built.init_weights("he")


def test_planned_conditions_come_seed_by_seed_and_none_is_there_twice():
    every = planned()
    assert len(set(every)) == len(every) == 3 * 3 * 2 * (4 + 3) * 5
    assert [c.seed for c in every] == sorted(c.seed for c in every)
    assert [c.kind for c in every[:5]] == list(KINDS)
    with pytest.raises(SearchError, match=r"rules: 'modle'; did you mean 'model'\?"):
        planned(rules=["modle"])


def test_what_is_recorded_is_not_trained_again_and_curves_are_kept(settings, tmp_path):
    wanted, path = planned([KIND], ["model"], ["fan_out", "pytorch"], [True], [0.1], 2, [0]), tmp_path / "record.jsonl"
    with run.open_record(path, tmp_path / "work") as record:
        run.run(settings, wanted[:1], record, QUIET)
        with pytest.raises(SearchError, match="is in use by"), run.open_record(path, tmp_path / "work"):
            pass
    before = path.read_text()
    with run.open_record(path, tmp_path / "work") as record:
        run.run(settings, wanted, record, QUIET)
    first, second = map(json.loads, path.read_text().splitlines())
    assert path.read_text().startswith(before)
    assert (first["scheme"], second["scheme"]) == ("fan_out", "pytorch")
    assert len(first["curve"]) == 2
    assert first["accuracy"] == first["curve"][-1]
    assert first["curve"] != second["curve"]


def test_a_search_that_trains_nothing_at_given_macs_is_refused():
    with pytest.raises(SearchError, match=r"expected the config of a search that trains its candidates at proxy\.macs"):
        run.evaluator_for(load_settings(ROOT / "configs/search/digits.py"))


@pytest.mark.parametrize("change", [{"accuracy": 1.5}, {"curve": [0.1, "x"]}, {"residual": 1}, {"seed": "0"}, {"widths": None}])
def test_a_line_that_is_no_training_is_refused_by_its_number(tmp_path, change):
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(row()) + "\n" + json.dumps(row(seed=1) | change) + "\n")
    with pytest.raises(SearchError, match="line 2: not a training of this study"), run.open_record(path):
        pass


def test_the_table_has_spreads_and_the_gap_where_all_kinds_are_there():
    rows = [row(kind, 0.5 + i / 50) for i, kind in enumerate(KINDS)] + [row(accuracy=0.6, seed=1)]
    rows.append(row(scheme="pytorch", residual=False, accuracy=0.25))
    lines = report.table(rows).splitlines()
    assert lines[0].startswith("Widths by `model`, 6 epochs, 3.00 to 3.00 M MACs")
    assert "| fan_out | yes | 0.3 | 55.0 ± 7.1 | 52.0 | 54.0 | 56.0 | 58.0 | 6.0 | 2 |" in lines
    assert "| pytorch | no | 0.3 | 25.0 |  |  |  |  |  | 1 |" in lines


def test_the_page_has_the_tables_of_the_record():
    page = (ROOT / report.PAGE).read_text(encoding="utf-8")
    rows = list(run.open_record(ROOT / report.RECORD).rows.values())
    assert between(report.MARKS, page, report.table(rows), report.PAGE) == page


def test_the_command_trains_records_and_renews_the_page(tmp_path, capsys):
    for name in ("tools", "configs", "docs/results"):
        (tmp_path / name).mkdir(parents=True)
    page = tmp_path / report.PAGE
    page.write_text("\n".join(report.MARKS) + "\n")
    record = str(tmp_path / "record.jsonl")
    arguments = [str(ROOT / "configs/search/digits.py"), "--kinds", KIND, "--rules", "exact", "--schemes", "fan_in"]
    arguments += ["--residual", "yes", "--learning-rates", "0.1", "--epochs", "1", "--seeds", "0", "--record", record]
    arguments += ["--work-dir", str(tmp_path / "work"), "--cfg-options", *(f"{k}={v}" for k, v in OPTIONS.items())]
    assert command.main(Call(arguments, "gemnet", "gemnet recipe", tmp_path)) == 0
    assert command.main(Call(["table", "--record", record, "--write"], "gemnet", "gemnet recipe", tmp_path)) == 0
    found = report.table([json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()])
    assert between(report.MARKS, page.read_text(), found, "page") == page.read_text()
    assert found in capsys.readouterr().out
    assert command.main(Call(["--rules", "modle"], "gemnet", "gemnet recipe", tmp_path)) == 1
