"""One key names the patients of a data set, and it is made on request only."""

from __future__ import annotations

import json
import stat

import pytest

from synthct.data.errors import UsageError
from synthct.tasks.ingestion.dataset import load_dataset
from synthct.tasks.intake import plan_intake
from synthct.tasks.intake.pseudonym import Pseudonyms, key_file, load_pseudonyms, new_key
from tests.fixtures.intake import KEY, ingest, tree

pytestmark = pytest.mark.usefixtures("pseudonym_key")


def test_a_key_is_made_on_request_once_and_only_its_owner_may_read_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SYNTHCT_PSEUDONYM_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(UsageError, match="synthct key --new"):
        load_pseudonyms()
    assert not key_file().exists()
    new_key()
    first = load_pseudonyms()
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="there is a key already"):
        new_key()
    assert load_pseudonyms() == first
    key_file().unlink()
    new_key()
    assert load_pseudonyms().patient("DOE") != first.patient("DOE")
    assert KEY not in repr(Pseudonyms(KEY.encode()))


def test_another_key_does_not_make_six_people_of_three(source, tmp_path, monkeypatch):
    ingest([source], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    document = json.loads(before["dataset.json"])
    assert document["key_check"] == Pseudonyms(KEY.encode()).check
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "another key of many characters")
    with pytest.raises(UsageError) as caught:
        plan_intake([source], "demo", tmp_path / "raw")
    assert caught.value.code == "another-key"
    assert tree(tmp_path / "raw") == before


def test_a_data_set_of_before_gets_the_check_value_of_the_key_with_the_next_patient(
    source, tmp_path
):
    raw = tmp_path / "raw"
    ingest([source / "DOE123"], raw)
    load_dataset(raw).model_copy(update={"key_check": ""}).save(raw)
    assert "key_check" not in (raw / "dataset.json").read_text()
    ingest([source], raw)
    assert load_dataset(raw).key_check == Pseudonyms(KEY.encode()).check


def test_a_short_key_is_refused(monkeypatch):
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "short")
    with pytest.raises(UsageError, match="16 characters"):
        load_pseudonyms()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xff\xfe" * 20, "key-not-text"),
        ("a-long-key-of-letters".encode("utf-16"), "key-not-text"),
        (None, "no-pseudonym-key"),
    ],
)
def test_a_key_of_bytes_or_a_folder_in_its_place_is_called_a_bug(
    content, code, tmp_path, monkeypatch
):
    """A container makes a folder for a file that is mounted and does not exist."""
    monkeypatch.delenv("SYNTHCT_PSEUDONYM_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "synthct" / "pseudonym.key"
    file.parent.mkdir()
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_pseudonyms()
    assert (caught.value.code, caught.value.where) == (code, str(file))
