"""What the pages show is true: their Python runs, their commands run or are at least right, and what they quote is there."""

import ast
import importlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import doc_commands
import pytest
import training_settings
from doc_examples import NOT_RUN, ROOT, RUN, SHELL, SLOW, UNKNOWN, Block, blocks, run_page, working_directory, write_titled
from doc_reader import Reader, Searches, link_repository
from extensions import registries_restored

import gemnet
from gemnet.cell import Cell
from gemnet.cli.running import REMEDIES
from gemnet.model_table import MODELS
from search.core.parts import REGISTRIES
from search.record.export import read_record, write_export
from search.record.file import TABLES
from search.record.rows import FIGURES, JUDGED, OVER_BUDGET, TIMED

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
SHOWN = ("text", "json", "bibtex", "csv", "html", "sql", "xml", "yaml")
"""Languages of blocks that are looked at; what can be read is read."""
RUN_BY = {
    "docs/extending/encoder.md": "tests/search/test_extending_pages.py",
    "docs/extending/evaluator.md": "tests/search/test_extending_pages.py",
    "docs/extending/model.md": "tests/gemnet/test_model_table.py",
    "docs/extending/operator.md": "tests/gemnet/test_operators.py",
    "docs/extending/predictor.md": "tests/search/test_extending_pages.py",
    "docs/extending/space.md": "tests/search/test_extending_pages.py",
}
"""Pages that are run beside what they extend, and by which file."""


def found(page: str) -> list[Block]:
    return blocks((ROOT / page).read_text(encoding="utf-8"))


def has(page: str, *treatments: str) -> bool:
    """Whether a page has blocks to run of these treatments."""
    return any(b.treatment in treatments and b.file is None and b.language in ("python", *SHELL) for b in found(page))


HERE = [page for page in PAGES if page not in RUN_BY]


@pytest.fixture(autouse=True)
def what_pages_register_goes(monkeypatch):
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    with registries_restored():
        yield


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    return Searches(tmp_path_factory.mktemp("searches"))


@pytest.mark.parametrize("page", PAGES)
def test_each_block_has_a_language_and_a_treatment_that_are_known(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^\s*```", text)) == 2 * len(found(page)), "a fence is indented, or not closed"
    for block in found(page):
        assert block.language in ("python", *SHELL, *SHOWN), f"line {block.line}: language {block.language!r}"
        assert block.treatment != UNKNOWN, f"line {block.line}: expected `run: slow` or `not run: REASON` above"
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.language in SHELL for block in found(page))])
def test_each_command_is_there_and_takes_the_arguments_and_settings_that_a_page_gives_it(page, tmp_path):
    link_repository(tmp_path)
    with working_directory(tmp_path):
        for block in found(page):
            if block.file is not None:
                write_titled(block, tmp_path)
        for block in found(page):
            if block.language in SHELL:
                for line in doc_commands.lines(block):
                    doc_commands.check(line, block.treatment if page not in RUN_BY else NOT_RUN)


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in HERE if has(page, RUN)])
def test_a_page_runs(page, tmp_path, searches):
    run_page(page, tmp_path, Reader(page, tmp_path, searches).shell, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in HERE if has(page, SLOW)])
def test_a_page_runs_with_what_takes_minutes(page, tmp_path, searches):
    run_page(page, tmp_path, Reader(page, tmp_path, searches).shell, slow=True)


@pytest.mark.parametrize(("page", "test"), RUN_BY.items())
def test_the_pages_on_extending_are_run_beside_what_they_extend(page, test):
    text = (ROOT / test).read_text(encoding="utf-8")
    assert f'"{page}"' in text or 'f"docs/extending/{page}.md"' in text


def table_of(page: str, name: str) -> list[str]:
    """The names in the first column of a page's table between the marks `name`, in order; a cell may have several."""
    text = (ROOT / page).read_text(encoding="utf-8")
    around = re.search(rf"<!-- {name}: checked by .* -->\n(.*?)<!-- end of {name} -->", text, re.DOTALL)
    rows = [line.split("|")[1] for line in around[1].splitlines()[2:]]
    return [found for row in rows for found in re.findall(r"`([^`]+)`", row)]


@pytest.mark.long
def test_the_page_on_records_names_what_a_search_writes_down(searches, tmp_path):
    page = "docs/records.md"
    small_search = Reader(page, tmp_path, searches).folder / "work_dirs/digits"
    for table in ("evaluations", "rounds"):
        assert table_of(page, table) == list(TABLES[table])
    assert table_of(page, "note") == ["evaluated", "best", *FIGURES, OVER_BUDGET, TIMED, JUDGED]
    with closing(sqlite3.connect(small_search / "study.sqlite")) as db:
        assert {key for (key,) in db.execute("SELECT key FROM meta")} == set(table_of(page, "meta")) - {"retries"}
    write_export(read_record(small_search), tmp_path / "record.jsonl")
    head, *rows = map(json.loads, (tmp_path / "record.jsonl").read_text(encoding="utf-8").splitlines())
    assert list(head) == [key for key in table_of(page, "head") if key != "retries"]
    assert {frozenset(row) for row in rows} == {frozenset(table_of(page, "line"))}
    assert list(json.loads((small_search / "encoder/encoder.json").read_text(encoding="utf-8"))) == table_of(page, "encoder")
    cell = Cell.load(small_search / "best_cell.json")
    assert {*cell.provenance, "stopped"} == set(table_of("docs/cell-file.md", "provenance"))


def test_the_page_on_records_names_what_a_training_of_a_trial_writes_down():
    rows = [json.loads(line) for line in (ROOT / "docs/results/trial.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {tuple(row) for row in rows} == {tuple(table_of("docs/records.md", "trainings"))}


def test_the_tables_of_a_trainings_settings_are_made_from_their_descriptions():
    """Renew them: python tests/helpers/training_settings.py."""
    text = (ROOT / training_settings.PAGE).read_text(encoding="utf-8")
    assert training_settings.renewed(text) == text


BESIDE = {
    "No module named": ("importlib", "_bootstrap.py"),
    "MMCV==": ("mmpretrain", "__init__.py"),
    "registry. Please check": ("mmengine", "registry/build_functions.py"),
    "CUDA out of memory": ("gemnet", "../tests/search/evaluation/test_proxy.py"),  # torch's own, in C++
}
"""Words of other libraries' messages: the package and file where they stand."""
PLACE = "\0"
"""In a text of the code, where a value is put in."""


def texts(file: Path) -> set[str]:
    """The texts of a Python file, with PLACE for each value that is put into them."""

    def text(node: ast.AST) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return re.sub(r"\{\w*\}", PLACE, node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(map(text, node.values))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return text(node.left) + text(node.right)
        return PLACE

    return {text(node) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))} - {PLACE}


def stands_in(message: str, known: str) -> bool:
    """Whether a message stands in one line of `known`, but for what is put in, or each of its parts, one with words at least,
    in some line."""
    together = ".*".join(re.escape(piece.strip()) for piece in message.split("…"))
    parts = [part for piece in re.split("…|(?=; )", message) if (part := piece.strip(" ;:,.()'\"?"))]
    words = any(part.count(" ") >= 2 for part in parts)
    return re.search(together, known) is not None or (words and all(part in known for part in parts))


def lines_of(found: Iterable[str]) -> str:
    return "\n".join({" ".join(text.split()) for text in found})


def messages() -> list[str]:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"(?m)^\| `(.+?)` \|", text)


@pytest.mark.long
def test_the_messages_that_troubleshooting_quotes_stand_in_the_code():
    of_system = {f"{os.strerror(number)}; {remedy}" for number, remedy in REMEDIES.items()}
    files = [file for room in ("gemnet", "search") for file in (ROOT / room).rglob("*.py")]
    own = lines_of(of_system.union(*map(texts, files)))
    others = {words: lines_of(texts(Path(importlib.import_module(m).__file__).parent / f)) for words, (m, f) in BESIDE.items()}
    known = {message: next((others[words] for words in BESIDE if words in message), own) for message in messages()}
    assert len(known) == len(messages()) >= 60
    assert not [message for message, lines in known.items() if not stands_in(message.replace("'mmcv._ext'", "…"), lines)]


def test_a_message_that_the_code_does_not_have_is_found():
    known = lines_of({"\0: no such file; there is \0", "take another"})
    assert stands_in("…: no such file; there is …", known)
    assert stands_in("…: no such file; take another", known)
    assert not stands_in("…: no such folder; there is …", known)
    assert not stands_in("…: another", known)


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_models_is_what_the_models_cost(name):
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    architecture = getattr(gemnet, name)().architecture
    cost = gemnet.network_cost(architecture)
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [
        f"{cost.params / 1e6:.2f} M",
        f"{cost.macs / 1e6:.0f} M",
        f"{cost.activations / 1e6:.1f} M",
        ", ".join(map(str, architecture.widths)),
        ", ".join(map(str, architecture.depths)),
        str(architecture.head_width),
    ]
