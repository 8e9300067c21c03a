"""Wrapping of the pages that ``python -m benchmarks`` writes, by hand."""

from benchmarks.__main__ import wrapped

WORDS = "nine char " * 12


def test_a_paragraph_or_a_list_is_wider_than_a_diff():
    page = wrapped(f"# Title\n\n{WORDS}\n\n* {WORDS}\n* short")
    line = " ".join(["nine char"] * 10)  # 99 columns; in the list, two are for the bullet
    assert page == (
        f"# Title\n\n{line}\nnine char nine char\n\n"
        f"* {line[:-5]}\n  char nine char nine char\n* short\n"
    )


def test_a_row_of_a_table_or_a_heading_is_broken():
    page = f"# {WORDS.strip()}\n\n| {WORDS} |\n|---|\n| {WORDS} |\n\n![{WORDS}](a.png)\n"
    assert wrapped(page) == page


def test_a_wrapped_page_changes_when_it_is_wrapped_again():
    page = wrapped(f"{WORDS}\n\n\n* {WORDS}\n* {WORDS}\n")
    assert wrapped(page) == page
