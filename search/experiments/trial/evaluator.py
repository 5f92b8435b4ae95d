"""The trainings of a trial: as the proxy's, with a recipe of their own, and the test images looked at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from search.core.types import Evaluation
from search.evaluation.data import ProxyData
from search.evaluation.proxy import ProxyEvaluator, ProxySettings
from search.experiments.trial.baselines import Contestant


@dataclass(frozen=True)
class Training:
    """A job for TrialEvaluator: train `network` with `seed` as `settings` say; it is never stopped early."""

    key: int
    network: Contestant
    seed: int
    settings: ProxySettings
    early_stop_thresholds: tuple[tuple[int, float], ...] = ()


class TrialEvaluator(ProxyEvaluator):
    """Trains networks as the proxy's are trained, and looks at the validation images once, after the last epoch."""

    every_epoch = False

    def __init__(self, data: ProxyData, settings: ProxySettings | None = None, model: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, settings, model)
        self._others: dict[ProxySettings, TrialEvaluator] = {}  # kept, for their images lie on a device

    def evaluate(self, job: Training, device: str = "cpu") -> Evaluation:  # type: ignore[override]  # it is handed no other job
        """As ProxyEvaluator's, by the settings of the job."""
        if job.settings == self.settings:
            return super().evaluate(job, device)  # type: ignore[arg-type]
        other = self._others.setdefault(job.settings, TrialEvaluator(self.data, job.settings))
        return other.evaluate(job, device)

    def build(self, job: Training) -> nn.Module:  # type: ignore[override]
        return job.network.build()
