"""Checks the site as it is built: every link and anchor leads somewhere, and nothing is fetched.

``python docs/site/check_links.py build/site`` prints what is wrong, a line each, and ends with exit
status 1 if there is anything. Links to other sites are counted and not followed.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements that a browser fetches by itself, and by which attribute."""


class Page(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the attributes of an element."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADING and LOADING[tag] in given and given.get("rel") != "canonical":
            self.loads.append(given[LOADING[tag]])


def problems(site: Path) -> tuple[list[str], int]:
    """Return what is wrong, and the number of links that were looked at."""
    pages = {file: Page(file.read_text("utf-8")) for file in sorted(site.rglob("*.html"))}
    wrong, looked = [], 0
    for file, page in pages.items():
        where = file.relative_to(site)
        for target in page.loads:
            if urlsplit(target).netloc:
                wrong.append(f"{where}: loads {target}")
        for target in (*page.links, *page.loads):
            looked += 1
            parts = urlsplit(target)
            # The page for an address that is not there stands at any depth, so its links are whole.
            if parts.scheme or parts.netloc or parts.path.startswith("/"):
                continue
            there = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            there = there / "index.html" if there.is_dir() else there
            anchor = unquote(parts.fragment)
            if not there.is_file():
                wrong.append(f"{where}: nothing at {target}")
            elif anchor and there in pages and anchor not in pages[there].anchors:
                wrong.append(f"{where}: no anchor {target}")
    return wrong, looked


def main() -> None:
    """Check the site that the first argument names."""
    wrong, looked = problems(Path(sys.argv[1]).resolve())
    print("\n".join([*wrong, f"{looked} links, {len(wrong)} wrong"]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
