import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from gemnet.cell import Cell
from search.base import Evaluation, Outcome, SearchError
from search.report import write_report
from search.study import Proposal, Study


def cell(i: int) -> Cell:
    return Cell(("input", *["conv1x1", "sepconv3x3"] * (i + 1)), tuple((v, v + 1) for v in range(2 * i + 2)))


@pytest.fixture
def work_dir(tmp_path):
    """A search of two rounds: 3 + 3 candidates, of which one failed, one was stopped early and one is pending."""
    with Study(tmp_path, {"seed": 0, "note": "<script>alert(1)</script>"}, {}) as study:
        for index in range(2):
            note = {"evaluated": 3, "kendall_tau": 0.5, "lipschitz": 2.0, "input_variance": 3.0, "variance": 1.0, "bound": 12.0}
            proposals = [
                Proposal(cell(i), cell(i).digest(), i, 1000 * (i + 1), 10, 0.5, 0.1 * i if index else None)
                for i in range(3 * index, 3 * index + 3)
            ]
            study.propose(index, proposals, note if index else {})
        for r in study.records()[:4]:
            study.finish(Outcome(r.id, Evaluation(0.1 * r.id, (0.05, 0.1 * r.id), r.id == 2, 1.0)), 0.1 * r.id)
        study.finish(Outcome(5, error="the loss is NaN & more"), None)
    return tmp_path


class Sources(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]


def test_the_report_holds_everything_itself_and_escapes_what_it_is_given(work_dir):
    text = write_report(work_dir).read_text()
    sources = Sources()
    sources.feed(text)
    assert len(sources.found) == 4 + 3  # of the four cells that were evaluated, and three plots
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources.found)
    assert all(b"<svg" in base64.b64decode(source.split(",", 1)[1]) for source in sources.found)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "the loss is NaN &amp; more" in text
    assert "4 candidates evaluated (1 stopped early, 1 failed, 1 pending)" in text


def test_the_best_cell_is_one_that_was_not_stopped(work_dir):
    assert "<b>0.4000</b>" in write_report(work_dir).read_text()


def test_a_search_without_results_is_told(tmp_path):
    with pytest.raises(SearchError, match="holds no search"):
        write_report(tmp_path)
    Study(tmp_path, {}, {}).__exit__()
    with pytest.raises(SearchError, match="nothing to report"):
        write_report(tmp_path)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium (Debian: apt-get install chromium)")
def test_a_real_browser_opens_the_report_and_runs_its_script(work_dir, tmp_path):
    from PIL import Image

    report = write_report(work_dir)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    flags += ["--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,2400"]
    flags += ["--enable-logging=stderr", "--v=0", f"--screenshot={tmp_path / 'page.png'}"]
    shot = subprocess.run(["chromium", *flags, report.as_uri()], capture_output=True, text=True, timeout=120)
    assert shot.returncode == 0
    assert not [line for line in shot.stderr.splitlines() if "CONSOLE" in line]  # no script error, nothing that was blocked
    picture = Image.open(tmp_path / "page.png").convert("RGB")
    colours = picture.getcolors(maxcolors=2**24)
    assert len(colours) > 50  # plots and drawings, not a blank page
    page = subprocess.run(["chromium", *flags[:-1], "--dump-dom", report.as_uri()], capture_output=True, text=True, timeout=120)
    assert re.search(r'<body data-ready="6">', page.stdout)  # the script ran and saw the six evaluations
