#!/usr/bin/env python
"""`gemnet compare-searches` of this checkout, installed or not."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this file's folder would hide modules by the names of its own

from gemnet.cli.calling import tool  # noqa: E402

if __name__ == "__main__":
    sys.exit(tool("compare-searches", __file__))
