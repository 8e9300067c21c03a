"""What a reader meets in the pages: lines that fit, and links that lead somewhere."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

BY_HAND = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")]
    if page.parent.name != "benchmarks" or page.name == "index.md"
)
ALL = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("infra/**/*.md")])
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", BY_HAND, ids=of)
def test_a_line_of_prose_is_wider_than_a_diff(page):
    text = FENCED.sub("", page.read_text())
    prose = [line for line in text.splitlines() if not line.startswith(("|", "    ", "!["))]
    assert [line for line in prose if len(line) > 100] == []


@pytest.mark.parametrize("page", BY_HAND, ids=of)
def test_a_link_leads_nowhere(page):
    from docs.generator.hook import COPIED

    made = {(ROOT / "docs" / name).resolve() for name in generated()}
    made |= {(ROOT / "docs" / name).resolve() for name in COPIED.values()}
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if not target.startswith(("http://", "https://", "mailto:")):
            there = (page.parent / target).resolve()
            assert there.exists() or there in made, target


def generated():
    from docs.generator.sources import REGISTRIES

    return [
        *("reference/params.md", "reference/command-line.md", "reference/python-api.md"),
        *(f"reference/{each.file}.md" for each in REGISTRIES),
    ]


@pytest.mark.parametrize("page", BY_HAND, ids=of)
def test_a_reference_cannot_be_resolved(page):
    assert not re.search(r"\bpapers? \d+", page.read_text())


def test_a_page_is_in_no_menu():
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed_by_the_hook = ("decisions", "benchmarks")
    for page in (ROOT / "docs").glob("**/*.md"):
        if page.parent.name not in listed_by_the_hook:
            assert str(page.relative_to(ROOT / "docs")) in menu
    for name in generated():
        assert name in menu


def blocks(language):
    found = []
    for page in (page for page in BY_HAND if page.name not in ("train.md", "add-a-regularizer.md")):
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S):
            found.append(pytest.param(block, id=f"{page.stem}-{len(found)}"))
    return found  # the two pages left out have tests of their own


@pytest.mark.parametrize("block", blocks("yaml"))
def test_params_that_a_page_shows_are_refused(block):
    from synthct.tasks.chain.params import parse_params

    named = block if re.search(r"^dataset:", block, re.M) else f"dataset: demo\n{block}"
    parse_params(named, where="the page")


@pytest.mark.parametrize("block", blocks("python"))
def test_a_page_imports_what_the_installed_package_lacks(block):
    imported = re.findall(r"^\s*(?:from|import) (\w+)", block, re.M)
    assert {"benchmarks", "tests", "docs"} & set(imported) == set()


def test_a_decision_is_not_in_the_list_of_decisions():
    folder = ROOT / "docs/decisions"
    listed = (folder / "index.md").read_text()
    for page in sorted(folder.glob("0*.md")):
        number, _, name = page.read_text().splitlines()[0].lstrip("# ").partition(". ")
        assert f"| {number} | [{name}]({page.name}) |" in listed


_NAMED = re.compile(r"`(?:tests/)?((?:[a-z_]+/)*test_[a-z_0-9]+\.py)`")
_GONE = {"test_rooms.py"}
"""Named by a decision as what it replaced."""


@pytest.mark.parametrize("page", ALL, ids=of)
def test_a_page_claims_what_no_test_shows(page):
    """A test that was moved or removed shows nothing any more."""
    named = {name for name in _NAMED.findall(page.read_text()) if name not in _GONE}
    known = {str(file) for file in ROOT.glob("tests/**/test_*.py")}
    assert [n for n in sorted(named) if not any(k.endswith(f"/{n}") for k in known)] == []


@pytest.mark.parametrize("page", ALL, ids=of)
def test_a_page_has_figures_of_a_command_that_is_gone(page):
    text = page.read_text()
    benchmarks = re.findall(r"python -m benchmarks ([a-z_0-9]+)", text)
    documents = re.findall(r"python -m docs\.([a-z_0-9]+)", text)
    files = [f"benchmarks/{name}.py" for name in benchmarks]
    files += [f"docs/{name}.py" for name in documents]
    assert [file for file in sorted(set(files)) if not (ROOT / file).is_file()] == []
