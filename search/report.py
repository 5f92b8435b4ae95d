"""The report of a search: one HTML file that holds everything and asks the network for nothing."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from gemnet.files import save_text
from search.base import SearchError
from search.dynamics import Dynamics, calibration, learning_dynamics, rank_correlations
from search.embedding.storage import read_description
from search.exported import is_export, read_record
from search.figures import (
    accuracy_against_cost,
    calibration_plot,
    cell_picture,
    data_url,
    predicted_against_measured,
    rank_correlation_plot,
    score_over_time,
    to_png,
    to_svg,
)
from search.ranking import best_first, best_table, pareto_front
from search.study import DONE, ENCODER_DIRECTORY, FAILED, Snapshot
from search.surface import surface_html

REPORT = "report.html"


def write_report(directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write `report.html` from the record in `directory`, of a search that runs or has ended; returns its path. Of an exported
    record, a file, it is written beside it, under its name.

    out: instead of `directory`, a directory where two of its figures are written as PNG as well, to be shown elsewhere. Raises
    SearchError where there is no record, or nothing in it yet.
    """
    snapshot = read_record(directory)
    if not any(r.state == DONE for r in snapshot.records):
        raise SearchError(f"{directory}: no evaluation is done yet, so there is nothing to report")
    path = Path(directory if out is None else out) / REPORT
    if out is None and is_export(directory):
        path = Path(directory).with_suffix(".html")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_text(path, _page(snapshot, Path(directory)))
    if out is not None:
        to_png(score_over_time(snapshot.records), path.parent / "score_over_time.png")
        to_png(accuracy_against_cost(snapshot.records, _cost(snapshot)), path.parent / "accuracy_against_cost.png")
    return path


def _page(snapshot: Snapshot, directory: Path) -> str:
    records = snapshot.records
    done, failed = [r for r in records if r.state == DONE], [r for r in records if r.state == FAILED]
    best = best_first(records)
    judgement = "" if best[0].judged is None else f", judged {best[0].judged:.4f} with what held-out predictors tell"
    seconds = sum(r.seconds or 0 for r in records)
    surface, calibrated = _dynamics(snapshot, directory)
    template = resources.files("search").joinpath("report_template.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=html.escape(f"NASGEM search: {directory.resolve().name}"),
        summary=f"{len(done)} candidates evaluated ({sum(r.stopped for r in done)} stopped early, {len(failed)} failed, "
        f"{len(records) - len(done) - len(failed)} pending) in {seconds:.0f} s of training. The best cell has an efficiency "
        f"score of <b>{best[0].score:.4f}</b>{judgement}: accuracy {best[0].accuracy:.4f} at a cost of {best[0].cost:.4g} "
        f"({html.escape(_cost(snapshot))}).",
        best=_table(*best_table(records, 10))
        + "<h3>Pareto front of accuracy against cost</h3>"
        + _table(*best_table(pareto_front(records))),
        cells="".join(
            _figure(cell_picture(r.cell.pruned()), f"{r.digest[:8]}: score {r.score:.4f}, accuracy {r.accuracy:.4f}")
            for r in best[:4]
        ),
        figures=_figure(to_svg(score_over_time(records)), "Score over time")
        + _figure(to_svg(accuracy_against_cost(records, _cost(snapshot))), "Accuracy against cost")
        + _figure(to_svg(predicted_against_measured(records)), "Predicted before against measured after an evaluation"),
        dynamics=surface,
        trust=calibrated + _rank_correlation(snapshot),
        predictor=_predictor_table(snapshot),
        encoder=_encoder_table(directory),
        evaluations=_table(
            (
                "cell",
                "round",
                "state",
                "predicted",
                "score",
                "accuracy",
                "cost",
                "proxy MACs (M)",
                "epochs",
                "seconds",
                "error",
            ),
            [
                (
                    r.digest[:8],
                    r.round,
                    r.state + (", stopped early" if r.stopped else ""),
                    _number(r.predicted),
                    _number(r.score),
                    _number(r.accuracy),
                    f"{r.cost:.4g}",
                    f"{r.macs / 1e6:.2f}",
                    len(r.curve) or "",
                    _number(r.seconds, 1),
                    r.error,
                )
                for r in records
            ],
            "sortable",
        ),
        settings=html.escape(json.dumps(snapshot.settings, indent=2)),
    )


def _cost(snapshot: Snapshot) -> str:
    """What the score counts as cost, with its unit."""
    kind = str(snapshot.settings.get("cost", {}).get("type", "macs"))
    return {"latency": "time, in that of a reference", "function": "the user's function"}.get(
        kind, f"{kind} of the proxy network, millions"
    )


def _dynamics(snapshot: Snapshot, directory: Path) -> tuple[str, str]:
    """The surface with the evaluated cells on it, and the predictor's calibration; why there is none, where there is none."""
    try:
        if is_export(directory):
            raise SearchError("the encoder is in the search's work directory, not in an exported record")
        dynamics = learning_dynamics(snapshot, directory)
    except SearchError as error:
        reason = html.escape(str(error).rstrip("."))
        return f"<p>No learning dynamics: {reason}.</p>", f"<p>No calibration of the predictor: {reason}.</p>"
    return surface_html(dynamics), _calibration(dynamics)


def _calibration(dynamics: Dynamics) -> str:
    bins = calibration(dynamics.held_out, dynamics.measured)
    caption = (
        f"Calibration: the {len(dynamics.evaluated)} cells evaluated to the end, predicted by predictors trained on others"
        f" (5-fold), in {len(bins)} bins of equal count"
    )
    if dynamics.deviation is not None:
        caption += (
            f"; {dynamics.within(1):.0%} of the measured scores lie within 1 and {dynamics.within(2):.0%} within 2 predicted"
            " deviations (of the true score: the noise of a measurement comes on top)"
        )
    return _figure(calibration_plot(bins), caption)


def _rank_correlation(snapshot: Snapshot) -> str:
    held_out, fresh = rank_correlations(snapshot)
    if not held_out and not fresh:
        return "<p>No rank correlation over the rounds: no predictor was trained yet.</p>"
    return _figure(rank_correlation_plot(held_out, fresh), "Rank correlation of the predictor over the rounds")


def _predictor_table(snapshot: Snapshot) -> str:
    rows = [
        (
            f"before round {index}",
            note["evaluated"],
            _number(note["kendall_tau"], 3),
            *(f"{note[name]:.3g}" if name in note else "" for name in ("lipschitz", "variance", "bound")),
        )
        for index, note in snapshot.rounds.items()
        if "kendall_tau" in note
    ]
    head = ("predictor", "cells", "Kendall's tau, 5-fold", "Lipschitz constant K ≤", "Var P(X)", "K² tr Cov X (Eq. 13)")
    return _table(head, rows) if rows else "<p>One round only: no predictor was trained.</p>"


def _encoder_table(directory: Path) -> str:
    try:
        figures = read_description(directory / ENCODER_DIRECTORY)["metrics"]
    except SearchError:  # none yet, or a damaged one: the surface tells why it is not there
        return ""
    return (
        _table(("encoder, on held-out pairs", "value"), [(name, _number(value)) for name, value in figures.items()])
        if figures
        else ""
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "plain") -> str:
    cells = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row) for row in rows]
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{c}</tr>" for c in cells)
    return f'<table class="{kind}"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>'


def _figure(svg: str, caption: str) -> str:
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="{data_url(svg)}"><figcaption>{text}</figcaption></figure>'


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"
