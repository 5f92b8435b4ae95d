"""What the pages link to is there: files, images, and headings on the same or another page."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path for place in (".", "docs", "configs") for path in (ROOT / place).glob("*.md" if place == "." else "**/*.md")
)
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)>?(?:\s+["'][^)]*)?\)|<(?:img|a)\b[^>]*?\b(?:src|href)=["']([^"']+)["']""")
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """The targets of a page's links and images that are no address of the web; what is code is none."""
    found = [target or other for target, other in LINK.findall(CODE.sub("", text))]
    return [target for target in found if not re.match(r"[a-z][a-z+.-]*:|//", target)]


def anchors(text: str) -> set[str]:
    """What a page's headings are linked by, as GitHub names them."""
    found: set[str] = set()
    for title in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)).strip().lower().replace(" ", "-")
        name = next(name for i in range(len(found) + 1) if (name := f"{plain}-{i}" if i else plain) not in found)
        found.add(name)
    return found


def broken(page: Path, tracked: set[Path] | None = None) -> list[str]:
    """The targets of a page's links that are not there, or, where it is known what is, not under version control."""
    found = []
    for target in links(page.read_text(encoding="utf-8")):
        place, _, anchor = unquote(target).partition("#")
        file = (page.parent / place).resolve() if place else page
        there = file.exists() and (tracked is None or file.is_dir() or file in tracked)
        if not there or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8"))):
            found.append(target)
    return found


def in_git() -> set[Path] | None:
    """The files under version control, and new ones that are not ignored; None outside of a repository."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return {ROOT / name for name in listed.stdout.split("\0") if name} if listed.returncode == 0 else None


def test_there_are_pages_with_links():
    assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md", "configs/README.md"} <= {
        str(page.relative_to(ROOT)) for page in PAGES
    }
    assert len(links((ROOT / "README.md").read_text(encoding="utf-8"))) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page):
    missing = broken(page, in_git())
    assert not missing, f"{page.relative_to(ROOT)} links to what is not there: {', '.join(missing)}"


def test_a_broken_link_is_found_in_every_form(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A title: `code` & more\n# Twice\n# Twice\n"
        "[there](page.md) [web](https://a.b/c) [title](#a-title-code--more) [second](page.md#twice-1)\n"
        '[gone](gone.md) ![image](no.png "title") <img src="none.svg"> [no heading](#nowhere) [third](#twice-2)\n'
        "`[code](x.md)`\n```\n[code](y.md)\n```\n"
    )
    assert broken(page) == ["gone.md", "no.png", "none.svg", "#nowhere", "#twice-2"]
    assert broken(page, set())[0] == "page.md"
