from pathlib import Path

import pytest

from search.configuration.sections import SECTIONS, decisive
from search.configuration.settings import load_settings
from search.core.types import SearchError
from search.encoders import build_encoder
from search.predictors import build_predictor
from search.spaces.dag import build_space

CONFIGS = Path(__file__).parents[3] / "configs/search"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_config_loads(path):
    settings = load_settings(path)
    assert set(settings) == set(SECTIONS) - {"custom_imports"}
    if settings["space"]["type"] == "dag":
        assert settings["space"]["num_nodes"] == (8 if path.stem.startswith("mobile") else 30)
    counts = {"nasbench101", "nasbench101_graphs", "nasbench201", "nasgem_cifar10", "nasgem_cifar10_folder", "own_detector"}
    counts |= {"mobile", "mobile_cifar10", "nasbench_macro"}
    assert settings["encoder"]["type"] == ("statistics" if path.stem in counts else "kernel_guided")


def test_options_override_single_settings():
    settings = load_settings(CONFIGS / "digits.py", {"space.num_nodes": 12, "search.start": 5})
    assert settings["space"]["num_nodes"] == 12
    assert settings["space"]["operators"] == ["conv1x1", "sepconv3x3"]
    assert settings["search"]["start"] == 5


def test_another_part_by_name_leaves_the_settings_of_the_former_one_behind():
    options = {"predictor.type": "ensemble", "encoder.type": "statistics", "encoder.cells": True, "executor.type": "ray"}
    settings = load_settings(CONFIGS / "digits.py", options)
    assert settings["predictor"] == {"type": "ensemble"}
    assert settings["encoder"] == {"type": "statistics", "cells": True}
    assert settings["executor"]["workers"] == "auto"  # where it runs stays
    build_predictor(**settings["predictor"])
    build_encoder(space=build_space(**settings["space"]), **settings["encoder"])
    same = load_settings(CONFIGS / "digits.py", {"encoder.type": "kernel_guided"})
    assert same == load_settings(CONFIGS / "digits.py")


def test_where_a_search_runs_does_not_decide_what_it_finds():
    one = load_settings(CONFIGS / "digits.py", {"executor.workers": 1})
    two = load_settings(CONFIGS / "digits.py", {"executor.workers": 2})
    assert one != two
    assert decisive(one) == decisive(two)
    assert decisive(load_settings(CONFIGS / "digits.py", {"search.encoder_cache": "cache"})) == decisive(one)


def test_a_config_that_is_missing_is_told_with_the_ones_that_are_there():
    with pytest.raises(SearchError, match=r"digitz\.py does not exist; there are .*digits\.py"):
        load_settings(CONFIGS / "digitz.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = ", "SyntaxError"),
        ("raise KeyError('x')", "KeyError"),
        ("sede = 1", "unknown setting 'sede'; did you mean 'seed'. Expected one of seed, penalty"),
        ("seed = 'x'", "seed: expected a whole number from 0, found 'x'"),
        ("seed = -1", "seed: expected a whole number from 0, found -1"),
        ("seed = True", "seed: expected a whole number from 0, found True"),
        ("space = 3", "space: expected settings by name, found 3"),
        ("penalty = 'high'", "penalty: expected a number from 0, found 'high'"),
    ],
)
def test_a_broken_config_is_told_with_its_name(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = ['{CONFIGS / 'digits.py'}']\n{text}\n")
    with pytest.raises(SearchError, match=message) as caught:
        load_settings(path)
    assert "mine.py" in str(caught.value)


def test_a_missing_section_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("seed = 0\n")
    with pytest.raises(SearchError, match=r"mine\.py: setting 'penalty' is missing"):
        load_settings(tmp_path / "mine.py")


def test_settings_by_their_former_names_are_those_of_today():
    settings = load_settings(CONFIGS / "digits.py", {"search.optimism": 0.5, "search.trust": 0.25})
    assert (settings["search"]["ucb_beta"], settings["search"]["measured_weight"]) == (0.5, 0.25)
    assert not {"optimism", "trust"} & set(settings["search"])
