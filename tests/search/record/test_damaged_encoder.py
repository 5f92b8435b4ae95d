"""An encoder whose files were damaged, are missing or another search's is trained anew, and the search ends as without."""

import json
import os
import shutil

import pytest
from made import SETTINGS, WHOLE, essence, run

from search.cli.records import records_command
from search.configuration.schedule import Schedule
from search.core.display import Display
from search.encoders.io import DESCRIPTION, WEIGHTS
from search.encoders.kernel_guided import KernelGuidedEncoder
from search.record.study import read_study

ENCODER = {"type": "kernel_guided", "dim": 4, "hidden": [8], "iterations": 3}
SEARCH = {"start": 6, "rounds": 1, "batch": 2, "draws": 200}
WITH = {**WHOLE, **SETTINGS, "encoder": ENCODER, "space": {"num_nodes": 8}, "search": SEARCH}


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    """A search that was left alone, one that was stopped after three evaluations, and one with another seed."""
    directory = tmp_path_factory.mktemp("searches")
    run(directory / "whole", settings=WITH, schedule=Schedule(**SEARCH))
    with pytest.raises(KeyboardInterrupt):
        run(directory / "stopped", settings=WITH, schedule=Schedule(**SEARCH), patience=3)
    run(directory / "other", settings={**WITH, "seed": 1}, schedule=Schedule(**SEARCH))
    return directory


def cut(directory, searches):
    (directory / WEIGHTS).write_bytes((directory / WEIGHTS).read_bytes()[:-40])


def flipped(directory, searches):
    content = bytearray((directory / WEIGHTS).read_bytes())
    content[-2] ^= 1  # in a weight, which stays a number
    (directory / WEIGHTS).write_bytes(content)


def of_another_search(directory, searches):
    shutil.rmtree(directory)
    shutil.copytree(searches / "other" / "encoder", directory)


def of_a_pipe(directory, searches):
    (directory / DESCRIPTION).unlink()
    os.mkfifo(directory / DESCRIPTION)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "encoder.safetensors: cannot be read as safetensors"),
        (flipped, "its files are others than this search has written"),
        (of_another_search, "its files are others than this search has written"),
        (of_a_pipe, "encoder.json: is no file"),
        (lambda directory, _: (directory / WEIGHTS).unlink(), "encoder.safetensors: cannot be read"),
        (lambda directory, _: (directory / DESCRIPTION).unlink(), "encoder.json: cannot be read"),
        (lambda directory, _: (directory / DESCRIPTION).write_text("[]"), "encoder.json: expected an object"),
        (lambda directory, _: (directory / DESCRIPTION).write_bytes(b"\xff"), "encoder.json: cannot be read"),
        (lambda directory, _: shutil.rmtree(directory), "encoder.json: cannot be read"),
    ],
    ids=["cut", "bit", "other", "pipe", "no weights", "no description", "list", "no text", "nothing"],
)
def test_it_is_trained_anew_and_the_search_ends_as_if_nothing_had_been(searches, tmp_path, damage, told, monkeypatch, capsys):
    shutil.copytree(searches / "stopped", tmp_path / "w")
    damage(tmp_path / "w/encoder", searches)
    fitted, real = [], KernelGuidedEncoder.fit
    monkeypatch.setattr(KernelGuidedEncoder, "fit", lambda self, *given: fitted.append(1) or real(self, *given))
    monkeypatch.setattr("made.Display", lambda quiet: Display())
    found = run(tmp_path / "w", settings=WITH, schedule=Schedule(**SEARCH))
    out = capsys.readouterr().out
    assert "The encoder is damaged and is trained anew: " in out
    assert told in out
    assert "another one than that of the rounds so far" not in out
    assert fitted == [1]
    assert essence(found) == essence(read_study(searches / "whole").records)
    for name in (DESCRIPTION, WEIGHTS):
        assert (tmp_path / "w/encoder" / name).read_bytes() == (searches / "whole/encoder" / name).read_bytes()


def test_one_that_is_whole_is_not_trained_again(searches, tmp_path, monkeypatch):
    shutil.copytree(searches / "stopped", tmp_path / "w")
    monkeypatch.setattr(KernelGuidedEncoder, "fit", None)
    assert essence(run(tmp_path / "w", settings=WITH, schedule=Schedule(**SEARCH))) == essence(
        read_study(searches / "whole").records
    )


@pytest.mark.long
def test_figures_that_are_no_numbers_cost_the_report_its_surface_alone(searches, tmp_path, capsys):
    shutil.copytree(searches / "whole", tmp_path / "w")
    path = tmp_path / "w/encoder" / DESCRIPTION
    for metrics in ({"R^2": "<b>high"}, [1], None):
        path.write_text(json.dumps({**json.loads(path.read_text()), "metrics": metrics}))
        assert records_command("report", str(tmp_path / "w")) == 0
        assert "No learning dynamics: " in (tmp_path / "w/report.html").read_text()
