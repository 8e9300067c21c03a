"""The confined reader process finds the packages of its caller, and says what it lacks."""

from __future__ import annotations

import pytest

from synthct.data.errors import DataError, MachineError
from synthct.data.readers.checks import as_data_errors
from synthct.data.readers.process import pool


def late() -> int:
    """Import after the files are shut out, as a reader of a rare format does."""
    import odd_package

    return int(odd_package.VALUE)


def refused() -> None:
    raise DataError("what went wrong", rule="a rule", code="a-code")


@pytest.fixture
def fresh_readers():
    """Readers start with the module path of their time."""
    pool._stop_all()
    yield
    pool._stop_all()


@pytest.mark.parametrize("kind", ["site-packages", "pip --target", "symlinked"])
def test_packages_outside_the_environment_are_shut_out(kind, tmp_path, monkeypatch, fresh_readers):
    folder = tmp_path / ("vendored" if kind == "pip --target" else "site-packages")
    package = (tmp_path / "cache" if kind == "symlinked" else folder) / "odd_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VALUE = 7\n")
    (folder / "odd_package-1.dist-info").mkdir(parents=True)
    if kind == "symlinked":
        (folder / "odd_package").symlink_to(package)
    monkeypatch.syspath_prepend(str(folder))
    assert pool.call(late, reads=[]) == 7


def test_a_package_that_is_shut_out_is_reported_as_a_damaged_scan(
    tmp_path, monkeypatch, fresh_readers
):
    (tmp_path / "odd_package.py").write_text("VALUE = 7\n")  # no folder of installed packages
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MachineError, match=r"odd_package\.py.*synthct doctor") as caught:
        pool.call(late, reads=[])
    assert caught.value.code == "reader-package"


def test_a_missing_package_within_a_parser_is_taken_for_a_flipped_bit():
    with pytest.raises(ImportError), as_data_errors("scan"):
        raise ModuleNotFoundError("No module named 'zarr'")


def test_what_went_wrong_is_lost_on_the_way_out_of_the_reader():
    with pytest.raises(DataError) as caught:
        pool.call(refused, reads=[])
    assert caught.value.problem == "what went wrong"
