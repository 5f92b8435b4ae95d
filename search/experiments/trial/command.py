"""The command line of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.cli.running import reported
from gemnet.core.configs import config_path
from gemnet.core.files import save_text
from gemnet.core.options import named
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.json_lines import Store
from search.core.types import SearchError
from search.evaluation.trainings import RECORD as TRAININGS_FILE
from search.evaluation.trainings import TRAININGS, open_trainings
from search.experiments.trial import report as trial_report
from search.experiments.trial.trial import ONE, WIRED, Trial, run_trial

CONFIG = "gemnet::search/nasgem_cifar10.py"
QUICK_CONFIG = "gemnet::search/digits.py"
QUICK_OPTIONS = {"proxy.epochs": 2, "proxy.width": 4, "space.num_nodes": 8, "data.train_per_class": 24, "model.residual": True}
QUICK_TRIAL = {"macs": 5e5, "epochs": 3, "seeds": (0, 1), "candidates": 3, "random": 3, "train_per_class": 48}
CONVERGED_CONFIG = "gemnet::search/nasgem_cifar10_folder.py"
CONVERGED = {
    "macs": 8e6, "epochs": 20, "random": 2,
    "rivals": (
        ONE, WIRED, "randwire", "timm/mobilenetv1_100", "timm/efficientnet_b0", "timm/mobilenetv4_conv_small",
        "torchvision/mnasnet1_0",
    ),
    "recipe": {"batch_size": 128, "warmup": 0.1, "cutout": 8, "amp": "native"},
    "tune": {"learning_rate": (0.1, 0.2, 0.4)},
}  # fmt: skip
"""All training images of CIFAR-10, each family of networks with its own learning rate, in bfloat16 where there is hardware."""


def trial_command(
    given: Mapping[str, Any],
    config: str | None = None,
    work_dir: str | None = None,
    jobs: int | None = None,
    quick: bool = False,
    converged: bool = False,
    cfg_options: Sequence[str] | None = None,
    write_to: Path | None = None,
) -> int:
    """Run or go on with a trial; prints its table. Returns the exit code: 0, or 1 after a message on standard error.

    given: fields of Trial. quick, converged: with those of QUICK_TRIAL or CONVERGED for what is not given. write_to: the
    repository whose docs are renewed; a converged trial goes on from the record that lies there.
    """
    usual = CONVERGED_CONFIG if converged else QUICK_CONFIG if quick else CONFIG
    preset: Mapping[str, Any] = CONVERGED if converged else QUICK_TRIAL if quick else {}
    pages = trial_report.CONVERGED if converged else trial_report.TRIAL
    config = config_path(config or usual, "search")
    directory = Path(work_dir or f"work_dirs/{'converged' if converged else 'trial'}_{Path(config).stem}")
    display = Display()

    def task() -> None:
        settings = load_settings(config, {**(QUICK_OPTIONS if quick else {}), **named(cfg_options)})
        recipe = {**preset.get("recipe", {}), **named(given.get("recipe"), "--recipe")}
        tune = {name: _values(name, value) for name, value in named(given.get("tune"), "--tune").items()}
        trial = Trial(**{**preset, **given, "recipe": recipe, "tune": tune or preset.get("tune", {})})
        if write_to and converged:
            _take_along(write_to / pages.record, directory)
        try:
            results = run_trial(settings, trial, directory, display, jobs)
            trial_report.write(results, directory)
            display.line(trial_report.table_of(results))
            display.line(f"\nFiles: {directory}/trial.md, trial.json, trial.svg")
            if write_to:
                trial_report.write_docs(write_to, results, pages)
                display.line(f"Written: {pages.page}, {pages.data}, {pages.graph}, {pages.record}")
        finally:
            if write_to and converged:
                _bring_back(directory, write_to / pages.record)

    return reported("evaluate_cells", task, str(directory), "stopped; what was trained is recorded, the same command goes on")


def _values(name: str, value: Any) -> tuple[Any, ...]:
    """Those of a setting that are tried. Raises SearchError for a single one."""
    if not isinstance(value, (list, tuple)) or len(value) < 2:
        raise SearchError(f"--tune {name}={value}: expected several values, as {name}=0.1,0.2")
    return tuple(value)


def _take_along(record: Path, directory: Path) -> None:
    """Add what a committed record has to that of the work directory."""
    with open_trainings(directory) as own:
        for key, row in Store(record, TRAININGS).rows.items():
            if key not in own.rows:
                own.add(row)


def _bring_back(directory: Path, record: Path) -> None:
    """Keep all that the work directory has beside the page, the trainings that chose the recipes among them."""
    own = directory / TRAININGS_FILE
    if own.is_file():
        save_text(record, own.read_text(encoding="utf-8"))
