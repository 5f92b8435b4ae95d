"""The report of a training: one HTML file that holds everything and asks the network for nothing."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from gemnet.core.files import save_text
from gemnet.detection.data import Prepared
from gemnet.detection.own_detector.measures import Mistakes
from gemnet.detection.prediction_files import draw

WORST, GOOD = 20, 8
"""How many pictures are shown of each."""
SIDE = 480
"""Their longer side in pixels."""
WHOLE = 21
"""Up to so many rows the table of confusions is shown whole."""
MISSED, WRONG, RIGHT = (255, 140, 0), (220, 20, 60), (0, 130, 70)
POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1,h2{line-height:1.2}table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd}
td:not(:first-child),th:not(:first-child){text-align:right}.figures{font-size:1.6em;margin:.5em 0}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:1em}figure{margin:0}
figure img{width:100%}figcaption{font-size:.85em;overflow-wrap:anywhere}small{color:#555}svg{max-width:100%;height:auto}
"""


def write_report(
    path: Path,
    prepared: Prepared,
    plan: Mapping[str, Any],
    result: Mapping[str, Any],
    losses: Sequence[tuple[int, float]],
    listed: Sequence[Mistakes],
) -> None:
    """Write the figures, the verdict, the curves, and photos with their boxes: the worst and some good ones."""
    worst = sorted((entry for entry in listed if entry.wrong), key=lambda entry: (-entry.share, -entry.wrong))[:WORST]
    shown = {id(entry) for entry in worst}
    good = [entry for entry in listed if id(entry) not in shown and any(right for *_, right in entry.found)]
    good = sorted(good, key=lambda entry: (entry.share, -len(entry.truths)))[:GOOD]
    width, height = plan["image_size"]
    settings = [
        ("data", f"{prepared.root} ({prepared.format})"),
        ("images", ", ".join(f"{split} {count:,}" for split, count in prepared.images.items())),
        ("objects", ", ".join(f"{split} {count:,}" for split, count in prepared.boxes.items())),
        ("detector", f"{plan['params'] / 1e6:.2f} M params, {plan['macs'] / 1e9:.2f} G MACs at {width}x{height}"),
        ("batch, learning rate", f"{plan['batch_size']} x {plan['processes']}, {plan['learning_rate']:g}"),
        ("time of the whole command", f"{result['seconds'] / 60:.1f} minutes"),
    ]
    parts = [
        f"<h1>Detector of {_text(', '.join(prepared.classes[:8]))}</h1>",
        f"<p class=figures>AP {_number(result['AP'])} · AP50 {_number(result['AP50'])}</p>",
        f"<p>On {prepared.images['test']:,} test images, which took no part in training and were measured once.</p>",
        "<h2>Verdict</h2><ul>",
        *(f"<li>{_text(one['says'])} <small>{_text(one['evidence'])}</small></li>" for one in result["verdict"]),
        "</ul><h2>A class at a time</h2>",
        _table(["class", "AP", "AP50", "objects"], [[name, _number(row["ap"]), _number(row["ap50"]), f"{row['objects']:,}"]
                                                    for name, row in result["classes"].items()]),
        "<h2>What is taken for what</h2>",
        "<p>Rows are what is there, columns what was found, with a score of at least "
        f"{result['score']:.2f}, which is best on the validation images.</p>",
        _confusions(result["confusions"]),
        "<h2>The training</h2>",
        _curves(losses, result["validation"]),
        _table(["setting", ""], [list(row) for row in settings]),
    ]  # fmt: skip
    if prepared.notes:
        parts += ["<h2>About the data</h2><ul>", *(f"<li>{_text(note)}</li>" for note in prepared.notes), "</ul>"]
    colours = "green: found; red: wrong; orange: an object that was missed"
    for title, entries in ((f"The {len(worst)} worst test images", worst), (f"{len(good)} good ones", good)):
        if entries:
            parts += [f"<h2>{title}</h2><p>{colours}</p><div class=pictures>"]
            parts += [_picture(prepared.root, entry) for entry in entries]
            parts += ["</div>"]
    head = f"<meta charset=utf-8>{POLICY}<title>Detector</title><style>{STYLE}</style>"
    save_text(path, f"<!doctype html><html lang=en>{head}{''.join(parts)}</html>\n")


def _picture(root: Path, entry: Mistakes) -> str:
    path = root / entry.image["file_name"]
    caption = f"{entry.image['file_name']}: {len(entry.truths)} objects, {entry.wrong} mistakes"
    try:
        picture = drawn(path, entry)
    except (OSError, ValueError) as error:
        return f"<figure><figcaption>{_text(caption)}: {_text(error)}</figcaption></figure>"
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    told = _text(caption)
    return f'<figure><img alt="{told}" src="data:image/jpeg;base64,{data}"><figcaption>{told}</figcaption></figure>'


def drawn(path: Path, entry: Mistakes) -> Image.Image:
    """A photo with what was found, right and wrong, and the objects that were missed."""
    marks = [(_corners(box), f"{name} {score:.2f}", RIGHT if right else WRONG) for box, name, score, right in entry.found]
    marks += [(_corners(box), name, MISSED) for box, name, hit in entry.truths if not hit]
    return draw(path, marks)


def _corners(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def _curves(losses: Sequence[tuple[int, float]], validations: Sequence[Mapping[str, float]]) -> str:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([step for step, _ in losses], [loss for _, loss in losses])
    left.set(xlabel="iteration", ylabel="loss", title="training loss")
    for name in ("AP", "AP50"):
        right.plot([row["iteration"] for row in validations], [row[name] for row in validations], marker="o", label=name)
    right.set(xlabel="iteration", title="validation", ylim=(0, 1))
    right.legend()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _confusions(table: Mapping[str, Mapping[str, int]]) -> str:
    """The whole table where it is small, else its largest entries beside the diagonal."""
    columns = list(next(iter(table.values())))
    if len(columns) <= WHOLE:
        rows = [[true, *(f"{row[name]:,}" if row[name] else "" for name in columns)] for true, row in table.items()]
        return _table(["", *columns], rows)
    pairs = [(count, true, name) for true, row in table.items() for name, count in row.items() if count and true != name]
    pairs = sorted(pairs, key=lambda pair: -pair[0])[:WHOLE]
    return _table(["what is there", "what was found", "how often"], [[true, name, f"{count:,}"] for count, true, name in pairs])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<table><tr>", *(f"<th>{_text(name)}</th>" for name in head), "</tr>"]
    for row in rows:
        lines += ["<tr>", *(f"<td>{_text(value)}</td>" for value in row), "</tr>"]
    return "".join([*lines, "</table>"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _text(value: Any) -> str:
    return html.escape(str(value))
