"""The site as `make docs` builds it: whole, and readable from a disk without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

FETCHED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=["']?([^"'\s>]+)""")
LINK = re.compile(r"""<a\b[^>]*?\bhref=["']?([^"'\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def pages(site):
    return [page for page in site.rglob("*.html") if page.name != "404.html"]


def test_a_page_fetches_something_from_elsewhere(site):
    assert len(pages(site)) > 60
    for page in pages(site):
        assert [url for url in FETCHED.findall(page.read_text()) if "//" in url] == [], page
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text()


def test_a_link_or_its_anchor_leads_nowhere(site):
    anchors = {}
    for page in pages(site):
        for url in LINK.findall(page.read_text()):
            if "//" in url or url.startswith(("mailto:", "#__")):
                continue
            path, _, anchor = unquote(url).partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), (page, url)
            if anchor and target.suffix == ".html":
                if target not in anchors:
                    anchors[target] = set(
                        re.findall(r"""\bid=["']?([^"'\s>]+)""", target.read_text())
                    )
                assert anchor in anchors[target], (page, url)


def test_search_finds_nothing_from_a_disk(site, browser):
    home = (site / "index.html").as_uri()
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000",
         f"--user-data-dir={site.parent / 'profile'}", "--dump-dom", f"{home}?q=folding"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert re.search(r"\d+ matching documents", done.stdout)
    assert "reference/regularizers.html" in done.stdout
