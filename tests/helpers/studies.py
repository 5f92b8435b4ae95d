"""Records made by hand."""

from gemnet.cell import Cell
from search.record.study import Proposal, Study

SETTINGS = {"seed": 0, "proxy": {"epochs": 3}, "space": {"num_nodes": 5}}


def proposal(i: int, **changes) -> Proposal:
    cell = Cell(("input", *["conv1x1"] * (i + 1)), tuple((v, v + 1) for v in range(i + 1)))
    return Proposal(cell, cell.digest(), seed=i, macs=1000 + i, params=10 + i, cost=0.5 + i, **changes)


def open_study(directory, settings=SETTINGS) -> Study:
    return Study(directory, settings, {"proxy": settings["proxy"]})
