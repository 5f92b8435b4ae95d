"""What mkdocs does to the pages: the site's start page is README, and links that leave docs/ lead to the repository.

The pages are written to be read in the repository, on GitHub or in an editor. On the site README, CONTRIBUTING and CHANGELOG
are pages like the others; other files outside of docs/ are links to the repository where `repo_url` in mkdocs.yml names one,
and their plain names where it does not.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the repository outside of docs/, and what they are on the site."""

_LINK = re.compile(
    r"^```.*?^```|(?P<image>!?)\[(?P<label>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)|`[^`\n]+`",
    re.DOTALL | re.MULTILINE,
)
"""A fenced block, a link, whose label may have code in it, or code in a line; whichever comes first."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's top."""
    from mkdocs.structure.files import File

    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite a page's links."""
    path = page.file.src_uri
    source = next((name for name, made in OUTSIDE.items() if made == path), f"docs/{path}")

    def link(match: re.Match[str]) -> str:
        if match["target"] is None or re.match(r"[a-z][a-z+.-]*:|//", match["target"]):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["target"]))
        label, anchor = match["label"], match["anchor"] or ""
        if (inside := _on_site(target)) is not None:
            return f"{match['image']}[{label}]({posixpath.relpath(inside, posixpath.dirname(path) or '.')}{anchor})"
        if config.repo_url:
            return f"[{label}]({config.repo_url.rstrip('/')}/blob/main/{target}{anchor})"
        return f"`{label}`" if re.search(r"[./_]", label) and "`" not in label else label

    return _LINK.sub(link, text)


def _on_site(target: str) -> str | None:
    """The page or file of the site, below docs/, that a path of the repository is; None where it is none."""
    if target in OUTSIDE:
        return OUTSIDE[target]
    if not target.startswith("docs/"):
        return None
    inside = target.removeprefix("docs/")
    return f"{inside}/README.md" if (ROOT / target / "README.md").exists() else inside
