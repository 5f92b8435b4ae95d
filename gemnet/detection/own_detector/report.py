"""The report of a training: one HTML file that holds everything and asks the network for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from gemnet.annotations.boxes import corners
from gemnet.core.files import save_text
from gemnet.core.html_page import escaped, jpeg_url, page, section, table
from gemnet.detection.data import Prepared
from gemnet.detection.own_detector.exporting import export_told
from gemnet.detection.own_detector.measures import Mistakes
from gemnet.detection.prediction_files import draw
from gemnet.drawing.palette import SERIES, adaptive_svg

WORST, GOOD = 20, 8
"""How many pictures are shown of each."""
SIDE = 480
"""Their longer side in pixels."""
WHOLE = 21
"""Up to so many rows the table of confusions is shown whole."""
MISSED, WRONG, RIGHT = (255, 140, 0), (220, 20, 60), (0, 130, 70)


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
    trained = max((one["seconds"] for one in result["validation"]), default=0.0)
    settings = [
        ("data", f"{prepared.root.name} ({prepared.format})"),
        ("images", ", ".join(f"{split} {count:,}" for split, count in prepared.images.items())),
        ("objects", ", ".join(f"{split} {count:,}" for split, count in prepared.boxes.items())),
        ("detector", f"{plan['params'] / 1e6:.2f} M params, {plan['macs'] / 1e9:.2f} G MACs at {width}x{height}"),
        ("batch, learning rate", f"{plan['batch_size']} x {plan['processes']}, {plan['learning_rate']:g}"),
        ("computed in", plan.get("precision", "float32")),
        ("training with validation", f"{trained / 60:.1f} minutes"),
    ]
    verdict = "".join(f"<li>{escaped(one['says'])}<small>{escaped(one['evidence'])}</small></li>" for one in result["verdict"])
    rows = [(name, _number(row["ap"]), _number(row["ap50"]), f"{row['objects']:,}") for name, row in result["classes"].items()]
    counted = (
        "<p>Rows are what is there, columns what was found, with a score of at least "
        f"{result['score']:.2f}, which is best on the validation images.</p>"
    )
    parts = [
        f"<p class=headline>AP {_number(result['AP'])} · AP50 {_number(result['AP50'])}</p>",
        f"<p>On {prepared.images['test']:,} test images, which took no part in training and were measured once.</p>",
        section("Verdict", f"<ul>{verdict}</ul>"),
        section("A class at a time", table(("class", "AP", "AP50", "objects"), rows)),
        section("What is taken for what", counted + _confusions(result["confusions"])),
        section("The training", _curves(losses, result["validation"]) + table(("setting", ""), settings)),
    ]
    if "export" in result:
        parts.append(section("The file for other machines", f"<p>{escaped(export_told(path.parent, result['export']))}</p>"))
    if prepared.notes:
        parts.append(section("About the data", f"<ul>{''.join(f'<li>{escaped(note)}</li>' for note in prepared.notes)}</ul>"))
    colours = "<p>green: found; red: wrong; orange: an object that was missed</p>"
    for title, entries in ((f"The {len(worst)} worst test images", worst), (f"{len(good)} good ones", good)):
        if entries:
            pictures = "".join(_picture(prepared.root, entry) for entry in entries)
            parts.append(section(title, f"{colours}<div class=figures>{pictures}</div>"))
    save_text(path, page(f"Detector of {', '.join(prepared.classes[:8])}", "\n".join(parts)))


def _picture(root: Path, entry: Mistakes) -> str:
    path = root / entry.image["file_name"]
    caption = escaped(f"{entry.image['file_name']}: {len(entry.truths)} objects, {entry.wrong} mistakes")
    try:
        picture = drawn(path, entry)
    except (OSError, ValueError) as error:
        return f"<figure><figcaption>{caption}: {escaped(error)}</figcaption></figure>"
    picture.thumbnail((SIDE, SIDE))
    return (
        f'<figure><img alt="{caption}" src="{jpeg_url(picture.convert("RGB"), 80)}"><figcaption>{caption}</figcaption></figure>'
    )


def drawn(path: Path, entry: Mistakes) -> Image.Image:
    """A photo with what was found, right and wrong, and the objects that were missed."""
    marks = [(corners(box), f"{name} {score:.2f}", RIGHT if right else WRONG) for box, name, score, right in entry.found]
    marks += [(corners(box), name, MISSED) for box, name, hit in entry.truths if not hit]
    return draw(path, marks)


def _curves(losses: Sequence[tuple[int, float]], validations: Sequence[Mapping[str, float]]) -> str:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([step for step, _ in losses], [loss for _, loss in losses], color=SERIES[0])
    left.set(xlabel="iteration", ylabel="loss", title="training loss")
    steps = [row["iteration"] for row in validations]
    for name, colour in zip(("AP", "AP50"), SERIES):
        right.plot(steps, [row[name] for row in validations], marker="o", color=colour, label=name)
    right.set(xlabel="iteration", title="validation", ylim=(0, 1))
    right.legend()
    svg = adaptive_svg(figure)
    return svg[svg.index("<svg") :]


def _confusions(confusions: Mapping[str, Mapping[str, int]]) -> str:
    """The whole table where it is small, else its largest entries beside the diagonal."""
    columns = list(next(iter(confusions.values())))
    if len(columns) <= WHOLE:
        rows = [[true, *(f"{row[name]:,}" if row[name] else "" for name in columns)] for true, row in confusions.items()]
        return table(["", *columns], rows)
    pairs = [(count, true, name) for true, row in confusions.items() for name, count in row.items() if count and true != name]
    pairs = sorted(pairs, key=lambda pair: -pair[0])[:WHOLE]
    return table(["what is there", "what was found", "how often"], [[true, name, f"{count:,}"] for count, true, name in pairs])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
