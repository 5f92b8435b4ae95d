"""Names of settings: the same settings have the same name anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values: keys sorted. Raises ValueError for numbers that are NaN or infinite."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def fingerprint(settings: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that name these settings, JSON values."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:12]
