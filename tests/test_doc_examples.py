"""The helper that runs pages of documentation; the pages themselves are run beside what they extend."""

import sys
from pathlib import Path

import pytest
from doc_examples import blocks, run_page

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
