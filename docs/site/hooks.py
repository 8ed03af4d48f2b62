"""What mkdocs is told besides ``mkdocs.yml``: pages from elsewhere in the repository, and links.

Documents of the repository link to each other as they lie there, so that they can be read without
a site. Here those links become links of the site.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

from pages import reference_pages

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "task_packs/airbench96/README.md": "packs/airbench96.md",
    "task_packs/nanochat_d12/README.md": "packs/nanochat_d12.md",
    "task_packs/parameter_golf/README.md": "packs/parameter_golf.md",
    "task_packs/play_search/README.md": "packs/play_search.md",
    "examples/README.md": "examples/index.md",
    "examples/strong_campaign/README.md": "examples/strong_campaign.md",
    "examples/strong_campaign/airbench96.md": "examples/strong_airbench96.md",
    "examples/strong_campaign/nanochat_d12.md": "examples/strong_nanochat_d12.md",
    "examples/small_model/README.md": "examples/small_model.md",
    "examples/small_model/transcript.md": "examples/small_transcript.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
}
"""Documents outside of ``docs/`` that the site has, and where."""

ALIASES = {"README.md": "index.md", "benchmarks": "project/benchmarks.md"}
"""What else a link may lead to that the site has in another form."""

_PAIR = re.compile(r"\[(?=[^\[\]]*\] ?\[)")
_FENCE = re.compile(r"^\s*(```|~~~)")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages of ``docs/`` that the navigation forgets at the end of the guides."""
    listed = set(re.findall(r"'([^']+\.md)'", repr(config.nav)))
    forgotten = [
        {_title(file): file.name}
        for file in sorted((ROOT / "docs").glob("*.md"))
        if file.name not in listed
    ]
    guides = next(section["Guides"] for section in config.nav or () if "Guides" in section)
    guides.extend(forgotten)
    return config


def _title(file: Path) -> str:
    return file.read_text("utf-8").partition("\n")[0].removeprefix("# ")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the documents from elsewhere, and the reference."""
    for origin, place in ELSEWHERE.items():
        files.append(File.generated(config, place, content=(ROOT / origin).read_text("utf-8")))
    for place, text in reference_pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where things are in the site."""
    here = page.file.src_uri
    if here.startswith("reference/"):
        return markdown
    origin = next((key for key, place in ELSEWHERE.items() if place == here), f"docs/{here}")
    lines, fence = [], ""
    for line in markdown.split("\n"):
        if mark := _FENCE.match(line):
            fence = "" if fence == mark[1] else fence or mark[1]
        lines.append(line if fence or mark else _relinked(line, origin, here, config))
    return "\n".join(lines)


def _relinked(line: str, origin: str, here: str, config: MkDocsConfig) -> str:
    if here.startswith("examples/"):
        # What tools answered may hold lists beside each other, which would be a reference.
        line = _PAIR.sub(r"\\[", line)
    if line.startswith("|"):
        # Elsewhere a bar in code ends a cell of a table, unless it is escaped; here it does not.
        line = _CODE.sub(lambda code: code[0].replace("\\|", "|"), line)
    code = [match.span() for match in _CODE.finditer(line)]

    def link(match: re.Match[str]) -> str:
        if any(start < match.start() and match.end() < end for start, end in code):
            return match[0]
        return _link(match, origin, here, config)

    return _LINK.sub(link, line)


def _link(match: re.Match[str], origin: str, here: str, config: MkDocsConfig) -> str:
    mark, label, target = match.groups()
    path, _, anchor = target.partition("#")
    if ":" in target or not path:
        return match[0]
    found = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    place = _place(found)
    if place is None:
        # The site has no such page, and maybe no address of the sources either.
        source = f"{config.repo_url}/blob/main/{found}" if config.repo_url else ""
        return f"{mark}[{label}]({source})" if source else label
    if mark == "" and label.strip("`").endswith((".md", "/")):
        label = _title(ROOT / found) if (ROOT / found).is_file() else label
    there = posixpath.relpath(place, posixpath.dirname(here) or ".")
    return f"{mark}[{label}]({there}{'#' + anchor if anchor else ''})"


def _place(found: str) -> str | None:
    if found in ALIASES:
        return ALIASES[found]
    if found in ELSEWHERE:
        return ELSEWHERE[found]
    inside = found.startswith("docs/") and (ROOT / found).is_file()
    return found.removeprefix("docs/") if inside else None
