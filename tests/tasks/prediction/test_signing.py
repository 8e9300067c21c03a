from __future__ import annotations

import json
import stat

import pytest

from synthct.data.errors import UsageError
from synthct.data.files import content_hash, write_whole
from synthct.flows.cli.app import command_line
from synthct.tasks.prediction.checksums import SIGNATURE, write_checksums
from synthct.tasks.prediction.release import open_release
from synthct.tasks.prediction.signing import check_signature, new_key, sign_release


@pytest.fixture
def key(tmp_path):
    new_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def signed(release, key, tmp_path):
    sign_release(release, key, tmp_path / "signed")
    return tmp_path / "signed"


def public(key):
    return key.with_name(key.name + ".pub")


def refused(folder, key) -> UsageError:
    with pytest.raises(UsageError) as caught:
        check_signature(folder, public(key))
    return caught.value


def test_a_signed_copy_opens_and_the_original_is_untouched(release, signed, key):
    assert SIGNATURE not in {path.name for path in release.iterdir()}
    check_signature(signed, public(key))
    assert open_release(signed).description.source == "mr"
    assert content_hash(signed / "fold0.onnx") == content_hash(release / "fold0.onnx")


def test_new_checksums_fool_the_checksums_and_not_the_signature(signed, key):
    card = json.loads((signed / "card.json").read_text())
    write_whole(signed / "card.json", json.dumps({**card, "not_for_clinical_use": ""}))
    write_checksums(signed)
    open_release(signed)  # the forger's checksums hold
    assert "other contents" in refused(signed, key).problem


def test_anothers_signature_is_refused_though_it_is_a_true_one(release, signed, key, tmp_path):
    new_key(tmp_path / "thief")
    sign_release(release, tmp_path / "thief", tmp_path / "stolen")
    assert "another key" in refused(tmp_path / "stolen", key).problem


@pytest.mark.parametrize("harm", ["missing", "no json", "no field", "not base64"])
def test_a_signature_that_is_none_is_refused(signed, key, harm):
    file = signed / SIGNATURE
    document = json.loads(file.read_text())
    if harm == "missing":
        file.unlink()
    elif harm == "no json":
        file.write_text("{")
    else:
        broken = {} if harm == "no field" else {**document, "signature": "?!"}
        file.write_text(json.dumps(broken))
    assert refused(signed, key).code == "signature-invalid"


def test_the_private_key_is_for_its_owner_and_never_overwritten(key):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(UsageError) as caught:
        new_key(key)
    assert caught.value.code == "key-exists"
    assert key.read_bytes() == before


def test_a_damaged_release_is_not_signed(release, key, tmp_path):
    write_whole(release / "fold0.onnx", b"damaged")
    with pytest.raises(UsageError) as caught:
        sign_release(release, key, tmp_path / "signed")
    assert caught.value.code == "release-damaged"
    assert not (tmp_path / "signed").exists()


def test_a_public_key_where_the_private_belongs_is_named(release, key, tmp_path):
    for path in (public(key), tmp_path / "none"):
        with pytest.raises(UsageError) as caught:
            sign_release(release, path, tmp_path / "signed")
        assert caught.value.code == "wrong-key"


def test_the_commands_sign_verify_and_refuse(release, tmp_path, capsys):
    key, signed = str(tmp_path / "k"), str(tmp_path / "s")
    assert command_line(["sign", "--new-key", key]) == 0
    assert command_line(["sign", "--model", str(release), "--key", key, "--out", signed]) == 0
    assert command_line(["verify", "--model", signed, "--public-key", key + ".pub"]) == 0
    assert command_line(["verify", "--model", str(release), "--public-key", key + ".pub"]) == 2
    assert "no signature" in capsys.readouterr().err
    assert command_line(["sign", "--model", str(release)]) == 2
