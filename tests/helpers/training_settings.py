"""The tables of docs/configuration.md, from the descriptions by which settings of a training are checked.

python tests/helpers/training_settings.py    renews them
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gemnet.core.settings import Setting
from gemnet.core.tables import between, markdown_table, marks
from gemnet.openmmlab.engine import load_config
from gemnet.openmmlab.overrides import SETTINGS
from gemnet.openmmlab.recipe import NUMBERS, SIDES

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/configuration.md"
COMMAND = "python tests/helpers/training_settings.py"
DEFAULTS = {
    "default for ImageNet": "gemnet_a_imagenet.py", "for own pictures": "gemnet_a_image_folder.py",
    "for COCO (RetinaNet)": "retinanet_gemnet_a.py", "own detector": "own_detector.py",
}  # fmt: skip
"""Columns of defaults, and the config that each is of."""


@cache
def _config(name: str) -> Mapping[str, Any]:
    config = load_config(str(ROOT / "configs" / name)).to_dict()
    del config["work_dir"]  # by the config's name
    return config


def _default(name: str, setting: str) -> str:
    """What a config has for a setting by its dotted name; empty where it does not state it."""
    value: Any = _config(name)
    for part in setting.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ""
        value = value[part]
    return f"`{value!r}`"


def _table(rows: Mapping[str, Setting]) -> str:
    columns = ("setting", "type", "range", *DEFAULTS, "meaning")
    lines = []
    for name, s in rows.items():
        setting, _, detectors = name.partition(" ")
        within = (s.item.range() if s.item else "") or s.range()
        unit = s.unit or (s.item.unit if s.item else "")
        defaults = [_default(config, setting) for config in DEFAULTS.values()]
        if name in ("image_size", f"image_size {detectors}"):  # one number, or two sides
            defaults = [value if ("[" in value or "(" in value) == bool(detectors) else "" for value in defaults]
        shown = f"`{setting}`{f' {detectors}' if detectors else ''}"
        lines.append((shown, s.kind(), ", ".join(filter(None, (within, unit))), *defaults, s.meaning))
    return markdown_table(columns, lines)


def renewed(text: str) -> str:
    """The page with its tables as they are today."""
    numbers: dict[str, Setting] = {}
    for name, setting in NUMBERS.items():
        numbers[name] = setting
        if name == "image_size":
            numbers["image_size of detectors"] = SIDES
    text = between(marks("numbers", COMMAND), text, _table(numbers), PAGE)
    return between(marks("settings", COMMAND), text, _table(SETTINGS), PAGE)


if __name__ == "__main__":
    path = ROOT / PAGE
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
