"""Every setting of a search is described once; what does not fit is told at the start, before anything is made."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from pathlib import Path
from typing import Any

import pytest

from gemnet.core.settings import REQUIRED, Setting, settings_of
from search.cli.command import settings_command
from search.configuration.checking import PLAIN, check_search, described
from search.configuration.listing import page, tables
from search.configuration.sections import SECTIONS
from search.configuration.settings import load_settings
from search.core.parts import REGISTRIES
from search.core.registry import located
from search.core.types import SearchError
from search.pipeline import run_search
from search.record.export import read_record

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "configs/search/digits.py"
PARTS = {(section, kind): registry.part(kind) for section, registry in REGISTRIES.items() for kind in registry}
PARTS |= {(section, ""): located(where) for section, where in PLAIN.items()}
OWN = {"space", "encoder", "evaluator", "model", "field", "count", "section", "self", "data"}
"""Arguments that a search gives its parts itself."""


@functools.cache
def digits() -> dict[str, Any]:
    return load_settings(DIGITS)


def settings(**sections: Any) -> dict[str, Any]:
    found = copy.deepcopy(digits())
    for section, given in sections.items():
        found[section] = {**found[section], **given} if isinstance(given, dict) and "type" not in given else given
    return found


@pytest.mark.parametrize(("section", "kind"), sorted(PARTS), ids=lambda name: name or "all")
def test_every_argument_of_a_part_is_described_and_its_default_fits(section: str, kind: str) -> None:
    part = PARTS[section, kind]
    found = settings_of(part)
    for parameter in inspect.signature(part).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in OWN and parameter.name != "args":
            assert parameter.name in found
            assert found[parameter.name].default is parameter.default or section == "search"
    for name, setting in found.items():
        assert setting.meaning
        if setting.default is not REQUIRED and not (section == "space" and setting.default is None):
            setting.check(name, setting.default)


def wrong(setting: Setting) -> list[Any]:
    """Values that a setting of this type may never be."""
    if setting.type is list:
        return [3.5, {"a": 1}, [math.nan], [None]] + ([] if setting.alone else ["a.json"])
    numbers = [math.nan, math.inf, -math.inf, True, "3", [3]]
    return {
        int: [*numbers, 2.5, 3.0, 10**30],
        float: [*numbers, 10**400],
        bool: [0, 1, "True", None],
        str: [3, True, ["a"], ""],
        Path: [3, True, ["a"], ""],
        dict: [3, "a", ["a"]],
    }[setting.type]


@pytest.mark.parametrize(("section", "kind"), sorted(PARTS), ids=lambda name: name or "all")
def test_every_setting_of_every_part_refuses_what_is_not_of_its_type(section: str, kind: str) -> None:
    base = {"type": kind} if kind else {}
    if section in ("data", "cost", "proxy"):
        base |= {"root": "photos"} if kind in ("image_folder", "box_crops") else {}
        base |= {"function": "math:sqrt"} if kind == "function" else {}
        base |= {"file": "times.json"} if kind == "table" and section == "cost" else {}
    base |= {"target_macs": 463e6} if section == "model" else {}
    for name, setting in described(section, kind or None).items():
        for value in wrong(setting):
            with pytest.raises(SearchError, match=rf"^digits\.py: {section}: {name}: "):
                check_search(settings() | {section: base | {name: value}}, "digits.py")
    with pytest.raises(SearchError, match=rf"^digits\.py: {section}: unknown setting 'colour'"):
        check_search(settings() | {section: base | {"colour": 1}}, "digits.py")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search.batch": 2.5}, r"search: batch: expected a whole number from 1, found 2\.5"),
        ({"search.batch": 2.0}, r"search: batch: expected a whole number from 1, found 2\.0; write 2"),
        ({"search.cells": "a.json"}, r"search: cells: expected a list of texts, found 'a\.json'; write \['a\.json'\]"),
        ({"search.warm_start": "runs/a"}, "search: warm_start: expected a list of texts"),
        ({"search.bacth": 3}, "search: unknown setting 'bacth'; did you mean 'batch'"),
        (
            {"search.latency": {"thread": 2}, "search.max_latency_ms": 5},
            "unknown setting 'thread'; did you mean 'threads'",
        ),
        ({"encoder.iteration": 3}, "encoder: unknown setting 'iteration'; did you mean 'iterations'"),
        ({"encoder.type": "kernel_gided"}, "unknown encoder 'kernel_gided'; did you mean 'kernel_guided'"),
        ({"encoder.iterations": 0}, "encoder: iterations: expected a whole number from 1, found 0"),
        ({"predictor.type": "bagged", "predictor.predictor": {"type": "mlp", "stepz": 3}}, "did you mean 'steps'"),
        ({"space.operators": ["sepconv3x4"]}, "found 'sepconv3x4'; did you mean 'sepconv3x3'"),
        ({"proxy.epochs": True}, "proxy: epochs: expected a whole number from 1, found True"),
        (
            {"data.type": "cifar10", "data.fraction": math.nan},
            "fraction: expected a number above 0 to below 1, found nan",
        ),
        ({"data.type": "image_folder"}, "data: setting 'root' is missing"),
        ({"model.target_macs": "463e6 MACs"}, "model: target_macs: expected a number above 0, found '463e6 MACs'"),
        ({"cost.max": math.nan}, "cost: max: expected a number above 0, or None, found nan"),
        ({"executor.workers": 1.5}, r"executor: workers: expected a whole number from 1, or 'auto', found 1\.5"),
        ({"executor.type": "rai"}, "executor: type: expected one of local, ray, found 'rai'; did you mean 'ray'"),
        ({"penalty": math.nan}, "penalty: expected a number from 0, found nan"),
        ({"seed": 1.0}, r"seed: expected a whole number from 0, found 1\.0; write 1"),
        ({"sed": 1}, "unknown setting 'sed'; did you mean 'seed'"),
    ],
)
def test_a_mistake_is_told_when_a_config_is_loaded(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=message):
        load_settings(DIGITS, options)


def test_nothing_is_made_of_settings_that_do_not_do(tmp_path: Path) -> None:
    for section, given in {"executor": {"threads": 0}, "search": {"batch": 2.5}, "cost": {"max": math.inf}}.items():
        with pytest.raises(SearchError, match=f"settings: {section}: "):
            run_search(settings(**{section: given}), tmp_path / "made", None)
    assert not (tmp_path / "made").exists()


def test_a_search_on_a_table_needs_neither_data_nor_a_budget() -> None:
    found = load_settings(ROOT / "configs/search/nasbench101.py")
    assert check_search(found | {"model": {}}, "settings")["data"] == {}


@pytest.mark.parametrize("path", sorted((ROOT / "docs/results/search").glob("nasgem_*.jsonl")), ids=lambda path: path.stem)
def test_settings_in_shipped_records_are_still_valid(path: Path) -> None:
    if path.stem.endswith("retrained"):
        pytest.skip("a record of trainings, not of a search")
    found = read_record(path).settings
    assert check_search(found | {"executor": {}}, str(path)) == found | {"executor": {}}


def test_the_page_of_settings_is_current() -> None:
    """Renew it: python tools/search.py settings --out docs/settings.md."""
    assert (ROOT / "docs/settings.md").read_text() == page()


def test_settings_are_listed_by_section_and_by_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_command("encoder.svge") == 0
    told = capsys.readouterr().out
    assert "| `encoder.edge_weight` | float | above 0 to below 1 |" in told
    assert "iterations" in "\n".join(tables("encoder"))
    assert {section for section in SECTIONS if f"## {section}" in page()} == {*REGISTRIES, *PLAIN}
    assert settings_command("search.start") == 0
    told = capsys.readouterr().out
    assert "`search.start`" in told
    assert "`search.rounds`" not in told
    assert "`search.latency" not in told
    assert settings_command("search.strat") == 1
    assert "unknown setting 'search.strat'; did you mean 'start'" in capsys.readouterr().err
    assert settings_command("encodr") == 1
    assert "unknown section 'encodr'; did you mean 'encoder'" in capsys.readouterr().err


def test_a_section_is_written_to_a_file_and_what_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_command("encoder.svge", str(tmp_path / "page.md")) == 0
    assert settings_command("encoder.svge") == 0
    assert (tmp_path / "page.md").read_text() == capsys.readouterr().out
    assert settings_command(None, str(tmp_path / "all.md")) == 0
    assert (tmp_path / "all.md").read_text() == page()
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert settings_command("encoder") == 1
        monkeypatch.undo()
    assert "search settings: standard output: No space left on device" in capsys.readouterr().err
