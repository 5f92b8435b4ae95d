"""The report of a search: one HTML file that holds everything and asks the network for nothing."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from gemnet.core.files import save_text
from gemnet.core.html_page import svg_url
from search.core.types import SearchError
from search.record.export import is_export, read_record
from search.record.ranking import STOPPED, best_first, best_table, pareto_front
from search.record.study import DONE, ENCODER_DIRECTORY, FAILED, Record, Snapshot
from search.report.dynamics import Dynamics, calibration, learning_dynamics, rank_correlations
from search.report.figures import (
    accuracy_against_cost,
    calibration_plot,
    cell_picture,
    predicted_against_measured,
    rank_correlation_plot,
    score_over_time,
    to_svg,
)
from search.report.surface import surface_html

REPORT = "report.html"
LOOKS = {"state": "text", "note": "text", "error": "long"}
"""How columns of tables look whose entries are no numbers; the first never are."""
TOLD_EDGES = 30
"""Of a cell with more edges, an image's text has their number."""


def write_report(directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write `report.html` from the record in `directory`, of a search that runs or has ended; returns its path. Of an exported
    record, a file, it is written beside it, under its name.

    out: instead of `directory`, a directory where two of its figures are written as SVG as well, to be shown elsewhere. Raises
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
        for name, svg in shown_elsewhere(snapshot).items():
            save_text(path.parent / name, svg)
    return path


def shown_elsewhere(snapshot: Snapshot) -> dict[str, str]:
    """Two of the report's figures as SVG, by the names of their files."""
    return {
        "score_over_time.svg": to_svg(score_over_time(snapshot.records)),
        "accuracy_against_cost.svg": to_svg(accuracy_against_cost(snapshot.records, _cost(snapshot))),
    }


def _page(snapshot: Snapshot, directory: Path) -> str:
    records = snapshot.records
    best = best_first(records)
    surface, calibrated = _dynamics(snapshot, directory)
    template = resources.files("search.report").joinpath("template.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=html.escape(f"NASGEM search: {directory.resolve().name}"),
        summary=_summary(snapshot, best[0]),
        best=_table("Best cells", *best_table(records, 10))
        + "<h3>Pareto front of accuracy against cost</h3>"
        + _pareto_table(records),
        cells="".join(map(_cell_figure, best[:4])),
        figures=_search_figures(records, _cost(snapshot)),
        dynamics=surface,
        trust=calibrated + _rank_correlation(snapshot),
        predictor=_predictor_table(snapshot),
        encoder=_encoder_table(directory),
        evaluations=_evaluations_table(records),
        settings=html.escape(json.dumps(snapshot.settings, indent=2)),
    )


def _summary(snapshot: Snapshot, best: Record) -> str:
    records = snapshot.records
    done, failed = [r for r in records if r.state == DONE], [r for r in records if r.state == FAILED]
    judgement = "" if best.judged is None else f", judged {best.judged:.4f} with what held-out predictors tell"
    seconds = sum(r.seconds or 0 for r in records)
    which = "All of them were stopped early; the best of these" if best.stopped else "The best cell"
    return (
        f"{len(done)} candidates evaluated ({sum(r.stopped for r in done)} stopped early, {len(failed)} failed, "
        f"{len(records) - len(done) - len(failed)} pending) in {seconds:.0f} s of training. {which} has an efficiency "
        f"score of <b>{best.score:.4f}</b>{judgement}: accuracy {best.accuracy:.4f} at a cost of {best.cost:.4g} "
        f"({html.escape(_cost(snapshot))})."
    )


def _pareto_table(records: Sequence[Record]) -> str:
    front = pareto_front(records)
    return _table("Pareto front", *best_table(front)) if front else "<p>No candidate was evaluated to the end yet.</p>"


def _cell_figure(r: Record) -> str:
    cell, stopped = r.cell.pruned(), f", {STOPPED}" if r.stopped else ""
    nodes = "; ".join(
        f"{name}: {', '.join(str(v) for v, other in enumerate(cell.nodes) if other == name)}"
        for name in dict.fromkeys(cell.nodes)
    )
    edges = ", ".join(f"{u} to {v}" for u, v in cell.edges) if len(cell.edges) <= TOLD_EDGES else f"{len(cell.edges)} edges"
    scores = f"score {r.score:.4f}, accuracy {r.accuracy:.4f}{stopped}"
    alt = f"Drawing of the cell {r.digest[:8]}: {edges}"
    return _figure(cell_picture(cell), f"{r.digest[:8]}: {scores}. Nodes: {nodes}", alt)


def _search_figures(records: Sequence[Record], cost: str) -> str:
    figures = _figure(
        to_svg(score_over_time(records)),
        "Score over time",
        "Plot of each evaluation's efficiency score in the order of proposal, with the best so far",
    )
    figures += _figure(
        to_svg(accuracy_against_cost(records, cost)),
        "Accuracy against cost",
        "Plot of validation accuracy against cost, with the Pareto front and the best cell",
    )
    if not any(r.predicted is not None for r in records if r.state == DONE):
        return figures + "<p>No score was predicted before its evaluation yet.</p>"
    return figures + _figure(
        to_svg(predicted_against_measured(records)),
        "Predicted before against measured after an evaluation",
        "Plot of measured against predicted scores; both are in the table of all evaluations",
    )


def _evaluations_table(records: Sequence[Record]) -> str:
    head = ("cell", "round", "state", "predicted", "score", "accuracy", "cost", "proxy MACs (M)", "epochs", "seconds", "error")
    rows = [
        (
            r.digest[:8],
            r.round,
            r.state + (f", {STOPPED}" if r.stopped else ""),
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
    ]
    return _table("All evaluations", head, rows, "sortable")


def _cost(snapshot: Snapshot) -> str:
    """What the score counts as cost, with its unit."""
    kind = str(snapshot.settings.get("cost", {}).get("type", "macs"))
    return {"latency": "time, in that of a reference", "function": "the user's function"}.get(
        kind, f"{kind.replace('macs', 'MACs')} of the proxy network, millions"
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
    return _figure(calibration_plot(bins), caption, "Plot of the mean measured score of each bin against the mean prediction")


def _rank_correlation(snapshot: Snapshot) -> str:
    held_out, fresh = rank_correlations(snapshot)
    if not held_out and not fresh:
        return "<p>No rank correlation over the rounds: no predictor was trained yet.</p>"
    alt = "Plot of Kendall's tau over the rounds; the cross-validated one is in the table below"
    return _figure(rank_correlation_plot(held_out, fresh), "Rank correlation of the predictor over the rounds", alt)


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
    return _table("Predictors", head, rows) if rows else "<p>One round only: no predictor was trained.</p>"


def _encoder_table(directory: Path) -> str:
    if not (directory / ENCODER_DIRECTORY).is_dir():
        return ""
    from search.encoders.io import read_description  # imports torch

    try:
        figures = read_description(directory / ENCODER_DIRECTORY)["metrics"]
    except SearchError:  # a damaged one: the surface tells why it is not there
        return ""
    return (
        _table("Encoder", ("encoder, on held-out pairs", "value"), [(name, _number(value)) for name, value in figures.items()])
        if figures
        else ""
    )


def _table(name: str, head: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "plain") -> str:
    """A table in a box of its own, which scrolls where the page is narrower; the first entry of a row is its header."""
    looks = [f' class="{LOOKS[column]}"' if column in LOOKS else "" for column in head]
    names = "".join(f'<th scope="col"{look}>{html.escape(column)}</th>' for column, look in zip(head, looks))
    body = "".join(
        f'<tr><th scope="row">{html.escape(str(first))}</th>'
        + "".join(f"<td{look}>{html.escape(str(value))}</td>" for value, look in zip(rest, looks[1:]))
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="box" role="region" aria-label="{html.escape(name)}" tabindex="0"><table class="{kind}">'
        f"<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _figure(svg: str, caption: str, alt: str) -> str:
    """A picture with a caption, and what it shows for those who do not see it."""
    image = f'<img alt="{html.escape(alt)}" src="{svg_url(svg)}">'
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"
