"""JSON, read as untrusted: in any Unicode encoding; damage and keys that stand twice are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gemnet.annotations.findings import shown
from gemnet.core.errors import DataError

BROKEN = "not a COCO annotation file for detection"
EXPECTED = (
    "expected lists 'images' (id, file_name, width, height), 'annotations' (id, image_id, category_id, bbox, area) and "
    "'categories' (id, name)"
)


def read_json(file: str | os.PathLike[str]) -> Any:
    """What a file in UTF-8, UTF-16 or UTF-32 holds, with or without a byte-order mark.

    Raises DataError where it cannot be read, is cut off or nested too deeply, and where a key stands twice with two values.
    """
    try:
        return json.loads(Path(file).read_bytes(), object_pairs_hook=_object)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        text = str(error)
        if isinstance(error, UnicodeDecodeError):
            text = f"{error.reason} at byte {error.start}; save it as UTF-8"
        raise DataError(f"{file}: {BROKEN} ({type(error).__name__}: {text}); {EXPECTED}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if value != found[key]:
                both = f"{shown(value)} and {shown(found[key])}"
                raise ValueError(f"the key {shown(key)} stands twice in one object, with {both}")
    return found
