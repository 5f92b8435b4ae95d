"""Pages of documentation as programs: their fenced blocks are run as a reader would run them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHELL = ("shell", "bash")
RUN, SLOW, NOT_RUN, UNKNOWN = "run", "slow", "not run", "unknown"
_FENCE = re.compile(
    r"^(?:<!-- *(?P<treatment>(?:not )?run\b.*?) *-->\n)?```(?P<language>\w*)(?P<options>[^\n]*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_TITLE = re.compile(r'\btitle="(?P<file>[^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: As the fence names it; empty where it names none.
        text: What is in it.
        file: What its title names, if it has one.
        line: The page's line that the text begins on.
        treatment: RUN, or what an HTML comment on the line above says: SLOW of `<!-- run: slow -->`, NOT_RUN of
            `<!-- not run: needs COCO -->`, UNKNOWN of another one that speaks of running.
    """

    language: str
    text: str
    file: str | None
    line: int
    treatment: str = RUN


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, given as text, in order."""
    found = []
    for fence in _FENCE.finditer(page):
        title = _TITLE.search(fence["options"])
        line = page.count("\n", 0, fence.start("text")) + 1
        found.append(Block(fence["language"], fence["text"], title and title["file"], line, _treatment(fence["treatment"])))
    return found


def _treatment(comment: str | None) -> str:
    if comment is None:
        return RUN
    if comment == "run: slow":
        return SLOW
    return NOT_RUN if re.fullmatch(r"not run: \S.*", comment) else UNKNOWN


def run_page(
    page: str | os.PathLike[str], tmp_path: Path, shell: Callable[[Block], None] = lambda block: None, slow: bool = True
) -> dict[str, Any]:
    """Run a page of the repository, as "docs/extending/operator.md", in the working directory `tmp_path`.

    Blocks with a title, as ```python title="mine.py", are written to that file, in any language; other Python blocks are run
    in order in one namespace, which is returned. The working directory is on the import path meanwhile, as in a notebook, and
    the modules that came from it are forgotten afterwards. What the page registers stays: that is for the test to undo.

    shell: what runs a block of shell commands, in its place among the others. slow: whether blocks that say so are run too.
    """
    path = ROOT / page
    namespace: dict[str, Any] = {"__name__": "__page__"}
    with working_directory(tmp_path):
        for block in blocks(path.read_text(encoding="utf-8")):
            if block.file is not None:
                write_titled(block, tmp_path)
            elif block.treatment not in ((RUN, SLOW) if slow else (RUN,)):
                continue
            elif block.language == "python":
                text = "\n" * (block.line - 1) + block.text  # so that a traceback has the page's lines
                exec(compile(text, str(path), "exec"), namespace)
            elif block.language in SHELL:
                shell(block)
    return namespace


def write_titled(block: Block, directory: Path) -> None:
    """Write a block to the file that its title names, below `directory`."""
    assert block.file is not None
    target = directory / block.file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(block.text, encoding="utf-8")


@contextmanager
def working_directory(directory: Path) -> Iterator[None]:
    """Within: `directory` is the working directory, and modules are found in it; afterwards they are forgotten."""
    before, path = Path.cwd(), list(sys.path)
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and Path(file).is_relative_to(directory):
                del sys.modules[name]
        sys.path_importer_cache.pop(str(directory), None)
