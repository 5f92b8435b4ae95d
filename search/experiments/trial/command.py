"""The command line of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.cli.running import reported
from gemnet.core.configs import config_path
from gemnet.core.options import named
from search.configuration.settings import load_settings
from search.core.display import Display
from search.experiments.trial import report as trial_report
from search.experiments.trial.trial import Trial, run_trial

CONFIG = "gemnet::search/nasgem_cifar10.py"
QUICK_CONFIG = "gemnet::search/digits.py"
QUICK_OPTIONS = {"proxy.epochs": 2, "proxy.width": 4, "space.num_nodes": 8, "data.train_per_class": 24, "model.residual": True}
QUICK_TRIAL = {"macs": 5e5, "epochs": 3, "seeds": (0, 1), "candidates": 3, "random": 3, "train_per_class": 48}


def trial_command(
    given: Mapping[str, Any],
    config: str | None = None,
    work_dir: str | None = None,
    jobs: int | None = None,
    quick: bool = False,
    cfg_options: Sequence[str] | None = None,
    write_to: Path | None = None,
) -> int:
    """Run or go on with a trial; prints its table. Returns the exit code: 0, or 1 after a message on standard error.

    given: fields of Trial. write_to: the repository whose docs are renewed.
    """
    config = config_path(config or (QUICK_CONFIG if quick else CONFIG), "search")
    directory = Path(work_dir or f"work_dirs/trial_{Path(config).stem}")
    display = Display()

    def task() -> None:
        settings = load_settings(config, {**(QUICK_OPTIONS if quick else {}), **named(cfg_options)})
        recipe = named(given.get("recipe"), "--recipe")
        trial = Trial(**{**(QUICK_TRIAL if quick else {}), **given, "recipe": recipe})
        results = run_trial(settings, trial, directory, display, jobs)
        trial_report.write(results, directory)
        display.line(trial_report.table(results))
        display.line(f"\nFiles: {directory}/trial.md, trial.json, trial.svg")
        if write_to:
            trial_report.write_docs(write_to, results)
            display.line(f"Written: {trial_report.PAGE}, {trial_report.DATA}, {trial_report.GRAPH}, {trial_report.RECORD}")

    return reported("evaluate_cells", task, str(directory), "stopped; what was trained is recorded, the same command goes on")
