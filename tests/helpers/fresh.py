"""Code in a Python that has imported nothing of gemnet, timm or OpenMMLab, without the seconds that torch takes.

One process a worker imports the libraries that stand below those, and gemnet does nothing about; each call is a fork of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

BELOW = ("torch", "torchvision.ops", "torchvision.models", "torch.distributed.fsdp", "matplotlib.pyplot", "scipy.stats", "cv2",
         "imgaug", "pycocotools.mask")  # fmt: skip
ABOVE = ("gemnet", "search", "timm", "mmcv", "mmengine", "mmdet", "mmpretrain")


def run_code(code: str, *arguments: str, cwd: str | os.PathLike[str] | None = None) -> subprocess.CompletedProcess[str]:
    """What `python -c CODE ARGUMENTS` ends with, in the folder `cwd`, or this process's."""
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        call = {"code": code, "arguments": list(arguments), "cwd": str(cwd or Path.cwd()), "folder": folder}
        server.stdin.write(json.dumps(call) + "\n")
        server.stdin.flush()
        ended = int(server.stdout.readline())
        told = [(Path(folder) / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(["-c", code, *arguments], ended, *told)


@cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _serve() -> None:
    sys.path[0] = ""  # as with -c
    for name in BELOW:
        with suppress(ImportError):
            import_module(name)
    assert not set(ABOVE) & set(sys.modules)
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if not child:
            _become(**call)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(code: str, arguments: Sequence[str], cwd: str, folder: str) -> None:
    """In the fork: what a Python does with -c."""
    ended = 1
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(os.path.join(folder, name), "wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    sys.argv = ["-c", *arguments]
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        ended = 0
    except SystemExit as exit:
        ended = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended)


if __name__ == "__main__":
    _serve()
