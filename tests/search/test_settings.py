from pathlib import Path

import pytest

from search.base import SearchError
from search.settings import SECTIONS, decisive, load_settings

CONFIGS = Path(__file__).parents[2] / "configs/search"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_config_loads(path):
    settings = load_settings(path)
    assert set(settings) == set(SECTIONS)
    images = settings["space"]["type"] == "dag"
    if images:
        assert settings["space"]["num_nodes"] == 30
    assert settings["encoder"]["type"] == ("kernel_guided" if images or path.stem.endswith("nasgem") else "statistics")


def test_options_override_single_settings():
    settings = load_settings(CONFIGS / "digits.py", {"space.num_nodes": 12, "search.start": 5})
    assert settings["space"]["num_nodes"] == 12
    assert settings["space"]["operators"] == ["conv1x1", "sepconv3x3"]
    assert settings["search"]["start"] == 5


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
        ("sede = 1", "unknown setting 'sede'; expected seed, penalty"),
        ("seed = 'x'", "seed: expected int, found 'x'"),
        ("seed = -1", "must not be negative"),
        ("seed = True", "seed: expected int"),
        ("space = 3", "space"),
        ("penalty = 'high'", "penalty: expected float"),
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
