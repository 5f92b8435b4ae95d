"""README is short, its figures have sources, and the site has every page."""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import gemnet
from gemnet.model_table import MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hooks():
    sys.path.insert(0, str(ROOT / "docs/site"))
    try:
        yield import_module("hooks")
    finally:
        sys.path.remove(str(ROOT / "docs/site"))
        del sys.modules["hooks"]


def test_readme_is_a_door():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1200


def test_readmes_two_commands_are_those_that_land_a_change():
    commands = re.findall(r"<!-- (set-up|test) command -->\n```shell\n(.*)\n```\n", README)
    assert [kind for kind, _ in commands] == ["set-up", "test"]
    landing = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert all(f"\n{command} || status=" in landing for _, command in commands)


def cost_of(name):
    cost = gemnet.network_cost(getattr(gemnet, name)().architecture)
    return [f"{cost.params / 1e6:.2f} M", f"{cost.macs / 1e6:.0f} M", f"{cost.activations / 1e6:.1f} M"]


@pytest.mark.parametrize("name", MODELS)
def test_readme_has_what_a_model_costs(name):
    (row,) = [line for line in README.splitlines() if line.startswith(f"| [`{name}`]")]
    assert [entry.strip() for entry in row.split("|")[2:5]] == cost_of(name)


@pytest.mark.parametrize("name", MODELS)
def test_a_models_card_has_its_architecture_and_cost(name):
    card = (ROOT / f"docs/cards/{name}.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]*) \| ([^|]*) \|$", card, re.MULTILINE))
    architecture = getattr(gemnet, name)().architecture
    assert rows["params, MACs, activations"].startswith(", ".join(cost_of(name)))
    assert rows["width of a node, by stage"] == ", ".join(map(str, architecture.widths))
    assert rows["channels of the stages"] == ", ".join(map(str, architecture.stage_channels))
    assert rows["cells in each stage"] == ", ".join(map(str, architecture.depths))
    assert rows["width of the head"] == str(architecture.head_width)
    headings = re.findall(r"^## (.*)", card, re.MULTILINE)
    assert headings == ["Architecture", "Where it comes from", "What is measured", "Intended use", "Limits", "Licence"]


def pages(entries):
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from pages(value) if isinstance(value, list) else [value]


def test_the_site_has_every_page_of_the_documentation_once(hooks):
    listed = sorted(pages(SITE["nav"]))
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert listed == sorted(written | set(hooks.OUTSIDE.values()))


def test_what_the_reference_names_is_there():
    named = [name for path in (ROOT / "docs/api").glob("*.md") for name in re.findall(r"^::: (\S+)", path.read_text(), re.M)]
    assert len(named) > 30
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert getattr(import_module(module), attribute).__doc__, name


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("index.md", "[m](docs/models.md#fit)", "[m](models.md#fit)"),
        ("index.md", "![c](docs/pictures/a.svg)", "![c](pictures/a.svg)"),
        ("extending/space.md", "[Space](../../search/core/types.py)", "Space"),
        ("extending/space.md", "[types.py](../../search/core/types.py)", "`types.py`"),
        ("results/speed.md", "[README](../../README.md)", "[README](../index.md)"),
        (
            "results/README.md",
            "[paper](paper/README.md) [web](https://a.b/c.md)",
            "[paper](paper/README.md) [web](https://a.b/c.md)",
        ),
        ("models.md", "`[a](../x.py)` and\n```\n[b](../y.py)\n```", "`[a](../x.py)` and\n```\n[b](../y.py)\n```"),
        ("index.md", "[`a`](docs/models.md) `b` [c](docs/search.md)", "[`a`](models.md) `b` [c](search.md)"),
        ("contributing.md", "[a](docs/architecture.md)", "[a](architecture.md)"),
    ],
)
def test_links_of_a_page_lead_to_pages_of_the_site_or_become_names(hooks, page, text, expected):
    assert (
        hooks.on_page_markdown(text, SimpleNamespace(file=SimpleNamespace(src_uri=page)), SimpleNamespace(repo_url=None), [])
        == expected
    )


def test_links_to_the_code_lead_to_the_repository_where_the_site_knows_it(hooks):
    config = SimpleNamespace(repo_url="https://example.org/gemnet/")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="extending/space.md"))
    text = hooks.on_page_markdown("[types.py](../../search/core/types.py)", page, config, [])
    assert text == "[types.py](https://example.org/gemnet/blob/main/search/core/types.py)"
