"""Table 1 of what is counted: the record is counted anew, by hand too, and the page is made from it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from gemnet.cli.calling import Call
from search.cli import reproduce
from search.experiments.published import table
from search.experiments.published.catalogue import published

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def rows():
    return json.loads((ROOT / table.RECORD).read_text(encoding="utf-8"))


def test_the_page_shows_the_record(rows):
    page = (ROOT / table.PAGE).read_text(encoding="utf-8")
    assert f"{table.MARKS[0]}\n{table.table(rows)}\n{table.MARKS[1]}" in page


@pytest.mark.long
def test_the_command_counts_the_record_and_the_page_anew(tmp_path, rows, capsys):
    for folder in ("docs/results", "tools", "configs"):
        (tmp_path / folder).mkdir(parents=True)
    page = tmp_path / table.PAGE
    shutil.copy(ROOT / table.PAGE, page)
    page.write_text(page.read_text(encoding="utf-8").replace("GEMNet-A", "?"), encoding="utf-8")
    assert reproduce.main(Call(["table1", "--write"], "tools", "reproduce.py", tmp_path)) == 0
    assert json.loads((tmp_path / table.RECORD).read_text(encoding="utf-8")) == rows
    assert table.table(rows) in page.read_text(encoding="utf-8")
    assert "| DARTS | 4.72 | 4.7 |" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["darts", "milenas", "bayesnas", "randwire"])
def test_hooks_on_layers_count_the_same_macs(name, rows):
    with torch.device("meta"):
        network = published(name).eval()
    macs = 0

    def count(layer, inputs, output):
        nonlocal macs
        kernel = layer.weight[0].numel()  # of one output element: input channels of its group times the kernel's places
        macs += output.numel() * kernel

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(1, 3, 224, 224, device="meta"))
    assert macs == next(row["macs"] for row in rows if row["name"] == name)


def test_the_second_count_has_normalisation_twice_and_activations_once():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)).eval()
    assert table.cost(network, torch.zeros(1, 3, 8, 8)) == (24, 768, 2 * 256 + 256 + 64)
