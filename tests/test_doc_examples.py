"""The helper that runs pages of documentation; the pages themselves are run beside what they extend."""

import sys
from pathlib import Path

import pytest
from doc_commands import check, command_of, lines, short
from doc_examples import NOT_RUN, ROOT, RUN, SLOW, UNKNOWN, Block, blocks, run_page

from gemnet.core.errors import UserError

PAGE = """# A page
```python title="lib/made_module.py"
def double(x):
    return 2 * x
```
Then:
```python
from lib.made_module import double
x = double(21)
```
```bash
not run
```
```python
from pathlib import Path
x += len(Path("made.json").read_text()) if Path("made.json").exists() else 0
```
"""


def test_a_page_is_run_in_order_in_one_namespace_with_its_files_in_the_working_directory(tmp_path):
    page, work = tmp_path / "page.md", tmp_path / "work"
    page.write_text(PAGE)
    work.mkdir()
    before = Path.cwd(), list(sys.path)
    assert run_page(page, work)["x"] == 42
    assert (Path.cwd(), sys.path) == before
    assert not [name for name in sys.modules if name.startswith("lib.made_module")]
    assert [block.file for block in blocks(PAGE)] == ["lib/made_module.py", None, None, None]


def test_an_error_in_a_page_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nx = 1\nraise KeyError(x)\n```\n")
    with pytest.raises(KeyError) as caught:
        run_page(page, tmp_path)
    assert (Path(caught.traceback[-1].path), caught.traceback[-1].lineno + 1) == (page, 5)


def test_a_comment_above_a_block_says_how_it_is_treated():
    comments = [
        "",
        "<!-- run: slow -->\n",
        "<!-- not run: needs COCO -->\n",
        "<!-- not run: -->\n",
        "<!-- run: never -->\n",
        "text\n",
    ]
    page = "".join(f"{comment}```shell\ngemnet --help\n```\n" for comment in comments)
    assert [block.treatment for block in blocks(page)] == [RUN, SLOW, NOT_RUN, UNKNOWN, UNKNOWN, RUN]


def test_blocks_that_a_page_marks_are_left_out_and_shell_is_handed_on_in_its_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = [1]\n```\n```shell\nfirst\n```\n<!-- run: slow -->\n```python\nx.append(2)\n```\n"
        "<!-- not run: no -->\n```python\nx.append(3)\n```\n"
    )
    seen = []
    assert run_page(page, tmp_path, lambda block: seen.append(block.text), slow=False)["x"] == [1]
    assert run_page(page, tmp_path, lambda block: seen.append(block.text), slow=True)["x"] == [1, 2]
    assert seen == ["first\n"] * 2


def command(text, treatment=NOT_RUN):
    (line,) = lines(Block("shell", text, None, 1, treatment))
    return line


def test_lines_of_shell_are_read_as_a_shell_reads_them():
    block = Block("shell", "A=1 gemnet fit a.json \\\n  --out 'b c'  # d\npip install . && gemnet --help\n", None, 1)
    assert [(line.environment, line.words) for line in lines(block)] == [
        (("A=1",), ("gemnet", "fit", "a.json", "--out", "b c")),
        ((), ("pip", "install", ".")),
        ((), ("gemnet", "--help")),
    ]
    with pytest.raises(AssertionError, match="more than a plain command"):
        lines(Block("shell", "gemnet --help | head\n", None, 1))


@pytest.mark.parametrize(
    "text",
    [
        "gemnet train CONFIG --amp",
        "python tools/train.py CONFIG --amp",
        "python -m gemnet train CONFIG --amp",
        "torchrun --nproc-per-node 2 -m gemnet train CONFIG --amp",
        "tools/dist_train.sh CONFIG 4 --amp",
        "tools/slurm_train.sh gpu name CONFIG --amp",
    ],
)
def test_a_command_is_known_by_each_of_its_ways(text):
    assert command_of(command(text)) == ("train", ["CONFIG", "--amp"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gemnet fly", "no command 'fly'"),
        ("python tools/fly.py", "no such tool"),
        ("gemnet fit a.json --targt-macs 1e6", "unrecognized arguments"),
        ("gemnet search nowhere.py", "does not exist"),
        ("gemnet search digits --cfg-options search.strat=4", "did you mean 'start'"),
        ("gemnet search digits --cfg-options search.start=many", "expected a whole number"),
        ("gemnet search retrain work_dirs/digits --cfg-options space.num_nodes=4", "retrain takes"),
        ("gemnet train configs/gemnet_a_imagenet.py --cfg-options epoch=4", "did you mean epochs"),
        ("gemnet train configs/nowhere.py", "no such config"),
        ('pip install -e ".[everything]"', "no such extra"),
        ("pytest tests/test_nothing.py", "no such test"),
        ("frobnicate", "not known to the test"),
    ],
)
def test_a_line_that_could_not_be_run_is_refused(text, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises((AssertionError, UserError), match=message):
        check(command(text), NOT_RUN)


def test_what_takes_long_has_to_say_so():
    with pytest.raises(AssertionError, match="run: slow"):
        check(command("gemnet train configs/gemnet_a_imagenet.py"), RUN)


def test_a_run_is_made_short_but_keeps_what_the_page_sets():
    name, arguments = short(command("gemnet search digits --cfg-options space.num_nodes=12 --work-dir there"))
    assert (name, arguments[:3], arguments[-2:]) == (
        "search",
        ["digits", "--cfg-options", "space.num_nodes=12"],
        ["--work-dir", "there"],
    )
    assert "search.start=4" in arguments
    assert "space.num_nodes=6" not in arguments
    assert short(command("gemnet search status work_dirs/digits")) == ("search", ["status", "work_dirs/digits"])
    searched = short(command("gemnet detect photos/ --search --minutes 30"))[1]
    assert searched[:2] == ["photos/", "--search"]
    assert "--minutes" not in searched
    assert "search.start=4" in searched[searched.index("--search-options") :]
