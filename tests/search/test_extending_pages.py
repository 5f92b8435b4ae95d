"""The pages of docs/extending are programs: their code, their configs and their commands run as a reader would run them."""

import shlex

import pytest
from commands import forked_workers
from doc_examples import ROOT, blocks, run_page, working_directory

from gemnet.cell import Cell
from search.predictors.ensemble import EnsemblePredictor

PAGES = sorted(path.stem for path in (ROOT / "docs/extending").glob("*.md") if path.stem not in ("README", "model", "operator"))
ALONE = "executor.workers=1"
"""Where a page asks for no workers: each takes seconds to start."""
SHORT = ["search.start=4", "search.rounds=1", "search.batch=2", "search.draws=500", "proxy.epochs=1"]
"""Where a page gives the digits' config as it is."""
QUICK = {"predictor": "encoder.iterations=20"}
"""Of pages that have the config's own encoder; others have its predictor."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few trees where a page leaves their number open, as each round and fold grows its own; workers start at once."""
    plain = EnsemblePredictor.__init__.__wrapped__
    monkeypatch.setattr(plain, "__defaults__", (10, *plain.__defaults__[1:]))
    with forked_workers():
        yield


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_a_page_on_extending_a_search_runs(page, tmp_path, capsys):
    from search.cli.command import search_command

    run_page(f"docs/extending/{page}.md", tmp_path)
    text = (ROOT / f"docs/extending/{page}.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for block in blocks(text) if block.language == "bash" for line in block.text.splitlines()]
    assert commands
    with working_directory(tmp_path):
        for name, subcommand, config, option, place, *more in commands:
            assert (name, subcommand, option, *more[:1]) == ("gemnet", "search", "--work-dir", *["--cfg-options"] * bool(more))
            options = [*more[1:], *SHORT] if more else []
            options.append(QUICK.get(page, "predictor.steps=20"))
            if more or "executor" not in (tmp_path / config).read_text(encoding="utf-8"):
                options.append(ALONE)
            assert search_command(config, place, options=options) == 0, capsys.readouterr().err
            assert Cell.load(tmp_path / place / "best_cell.json").live_nodes
