"""The page: complete offline, the same bytes everywhere, accessible, and without overclaiming."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from itertools import pairwise

import html5lib
import pytest

from synthct.data.errors import MachineError
from synthct.data.files import canonical_json, write_whole
from synthct.tasks.report.params import ReportParams
from synthct.tasks.report.reading import STAGES, Chain, Score
from synthct.tasks.report.run import run
from synthct.tasks.report.views.headline import headline

SMALL = ReportParams(slices_per_case=2)
HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"


def built(tree, params=SMALL) -> str:
    run(tree.context(), params)
    return tree.page()


def parsed(page):
    return html5lib.HTMLParser(strict=True).parse(page)


def text_of(page) -> str:
    page = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(" ".join(parsed(page).itertext()).split())


def test_a_strict_parser_finds_no_error_in_the_page(page):
    parsed(page)  # raises on the first parse error


def test_nothing_is_fetched_from_anywhere(page):
    for element in parsed(page).iter():
        for name, value in element.attrib.items():
            if name.rpartition("}")[2] in {"href", "src", "srcset", "data", "action", "poster"}:
                assert value.startswith(("data:image/webp;base64,", "#")), (element.tag, name)
    for part in ("style", "script"):
        text = "".join("".join(e.itertext()) for e in parsed(page).iter(f"{HTML}{part}"))
        assert "://" not in text
        assert "@import" not in text
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "default-src 'none'" in page  # and the browser itself refuses


def test_two_checkouts_give_the_same_bytes_whatever_case_finishes_first(tree, tmp_path):
    first = built(tree)
    twin = type(tree)(tmp_path / "elsewhere" / "fixture")
    shutil.copytree(tree.root, twin.root)
    context = twin.context()

    def backwards(function, items, *, label):
        return iter(list(context.fan_out(function, items, label=label))[::-1])

    run(dataclasses.replace(context, seed=2, fan_out=backwards), SMALL)
    assert twin.page() == first
    assert str(tmp_path) not in first


def test_the_worst_case_comes_first_and_opens_at_its_worst_slice(tree):
    tree.errors_hu["TH-01_mr"] = 170.0
    tree.evaluation()
    page = built(tree)
    headings = [e for e in parsed(page).iter(f"{HTML}h4") if e.get("id", "").startswith("strip-")]
    result = [" ".join("".join(e.itertext()).split()) for e in headings]
    assert [text.split()[1] for text in result] == [
        "TH-01_mr", "AB-01_cbct", "AB-01_mr", "TH-01_cbct", "HN-01_cbct", "HN-01_mr",
    ]  # fmt: skip
    doubled = tree.shape[0] // 3 + 1  # the slice whose error the fixture doubles, from 1
    assert page.count(f"slice {doubled} of {tree.shape[0]}, z = ") >= len(result)
    for output in parsed(page).iter(f"{HTML}output"):
        assert "".join(output.itertext()).startswith(f"slice {doubled} of ")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "pretraining"])
def test_a_stage_that_has_not_run_is_named_not_crashed_on(tree, stage):
    shutil.rmtree(tree.folder(stage))
    assert f"The stage {stage} has not run in this workspace" in text_of(built(tree))


def test_a_stage_that_is_off_is_missed(tree):
    assert not tree.folder("pretraining").exists()
    assert "The stage pretraining" not in text_of(built(tree))


def test_an_empty_workspace_gives_a_page_that_claims_nothing(tree):
    shutil.rmtree(tree.folder("report").parent)
    text = text_of(built(tree))
    assert "Nothing has been scored in this workspace yet." in text
    assert "HU;" not in text


def test_a_case_whose_volumes_are_not_there_is_left_to_the_tables(tree):
    shutil.rmtree(tree.folder("evaluation") / "HN-01_mr" / "sct.zarr")
    text = text_of(built(tree))
    assert "1 more scored cases without pictures here." in text


@pytest.mark.parametrize("name", ["ct", "source", "displacement"])
def test_a_damaged_volume_stops_the_stage_and_leaves_the_old_page(tree, name):
    write_whole(tree.folder("report") / "index.html", "the old page")
    volume = tree.folder("registration") / "HN-01_mr" / f"{name}.zarr"
    shard = max((p for p in volume.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[:-200] = bytes(255 - value for value in content[:-200])
    shard.write_bytes(content)
    with pytest.raises(MachineError, match=rf"{name}\.zarr"):
        run(tree.context(), SMALL)
    assert tree.page() == "the old page"


def test_only_pseudonyms_and_no_disk_of_ours_reach_the_page(tree):
    file = tree.folder("ingestion") / "HN-01" / "patient.json"
    facts = json.loads(file.read_text()) | {"PatientName": "DOE^JOHN", "source": "/mnt/doe/ct"}
    facts["scans"]["ct"] |= {"series_description": "DOE JOHN CT", "path": "/mnt/doe/ct"}
    facts["scans"]["ct"]["findings"] = ["slice gap in /srv/hospital/doe/ct/1.dcm"]
    write_whole(file, canonical_json(facts))
    row = {"unit": "HN-02", "code": "x", "where": "/mnt/doe/raw/HN-02/mr", "rule": "one series"}
    row |= {"problem": "two in /mnt/doe/raw/HN-02/mr", "remedy": "split them"}
    write_whole(tree.folder("ingestion") / "excluded.json", canonical_json([row]))
    page = built(tree)
    for secret in ("DOE", "/mnt", "hospital", "/srv"):
        assert secret not in page
    assert "two in HN-02/mr" in text_of(page)


def test_words_of_the_data_cannot_become_markup(tree):
    file = tree.folder("ingestion") / "HN-01" / "patient.json"
    facts = json.loads(file.read_text()) | {"region": "<script>alert(1)</script>"}
    write_whole(file, canonical_json(facts))
    assert "<script>alert" not in built(tree)


def test_everything_is_named_for_those_who_do_not_see_or_use_a_mouse(page):
    document = parsed(page)
    ids = [element.get("id") for element in document.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    labelled = {label.get("for") for label in document.iter(f"{HTML}label")}
    wrapped = {e for label in document.iter(f"{HTML}label") for e in label.iter(f"{HTML}input")}
    for field in document.iter(f"{HTML}input"):
        assert field.get("id") in labelled or field in wrapped
    assert all(image.get("alt") for image in document.iter(f"{HTML}img"))
    for drawing in document.iter(f"{SVG}svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") == "true"
    for element in document.iter():
        for name in ("aria-labelledby", "for"):
            assert element.get(name) is None or element.get(name) in ids
        target = element.get("href") or ""
        assert not target.startswith("#") or target[1:] in ids
    for scrolled in (e for e in document.iter(f"{HTML}div") if e.get("class") == "scroll"):
        assert scrolled.get("tabindex") == "0"


def test_headings_never_skip_a_level(page):
    levels = [int(e.tag[-1]) for e in parsed(page).iter() if re.fullmatch(rf"{HTML}h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def real_cohort(count) -> Chain:
    patients = {f"STS-{n}": {"region": "other", "synthetic": False} for n in range(count)}
    scores = [
        Score(f"{name}_mr", name, "mr", "other", "0", method, "registered", "mae_hu", value)
        for name in patients
        for method, value in (("model", 80.0), ("lookup", 160.0))
    ]
    gain = {"baseline": "lookup", "cases": count, "model_mae_hu": 80.0, "baseline_mae_hu": 160.0,
            "ratio": 0.5, "low": 0.4, "high": 0.6}  # fmt: skip
    summary = {"gain": {"mr": {"registered": gain}}}
    return Chain(dataset={"synthetic": False}, patients=patients, scores=scores, summary=summary)


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, "1 patient demonstrates the method, not its accuracy."),
        (2, "2 patients demonstrate the method, not its accuracy."),
        (4, "4 patients demonstrate the method, not its accuracy."),
    ],
)
def test_a_few_real_patients_are_never_presented_as_accuracy(count, sentence):
    assert headline(real_cohort(count)).caveat == sentence


def test_five_real_patients_are_reported_what_their_scores_hold():
    result = headline(real_cohort(5))
    assert "no scans from other sources were tested" in result.caveat
    assert "any residual misalignment is part of every score" in " ".join(result.sentences)
    assert result.scores[0].beside == (
        "Best baseline, intensity look-up: 160 HU; the model’s error is 50 % of that "
        "(95 % interval 40 to 60 %)."
    )


def test_the_caveat_of_a_real_cohort_is_on_the_page(tree):
    dataset = canonical_json({"dataset": "sts", "synthetic": False})
    write_whole(tree.folder("ingestion") / "dataset.json", dataset)
    assert "3 patients demonstrate the method, not its accuracy." in text_of(built(tree))


def test_digital_patients_are_never_taken_for_people(page):
    text = text_of(page)
    assert "3 digital patients" in text
    assert "they say nothing about accuracy in people" in text


def test_a_model_that_loses_to_a_baseline_says_so_on_the_first_screen(tree):
    file = tree.folder("evaluation") / "summary.json"
    summary = json.loads(file.read_text())
    summary["gain"]["mr"]["registered"] |= {"ratio": 1.02, "baseline_mae_hu": 500.0}
    write_whole(file, canonical_json(summary))
    assert "The model does not beat the best baseline" in first_screen(built(tree))


def first_screen(page) -> str:
    (section,) = [e for e in parsed(page).iter(f"{HTML}section") if e.get("id") == "scores"]
    return " ".join(" ".join(section.itertext()).split())


def test_lost_bone_and_a_refused_release_stand_on_the_first_screen(page):
    text = first_screen(page)
    assert "1 of 3 cases are suspect; cases by failed check: lost structure 1." in text
    assert "Not released: 90.0 HU against 100.0 HU." in text
    assert "Released." in text


def test_a_demonstration_is_not_called_a_release(tree):
    file = tree.folder("export") / "mr" / "card.json"
    card = json.loads(file.read_text()) | {"demonstration_only": "there are only 3 unseen cases"}
    write_whole(file, canonical_json(card))
    text = text_of(built(tree))
    assert "Not released, written for demonstration only: there are only 3 unseen cases." in text
    assert "Released." not in text


def test_a_refused_release_shows_why(page):
    text = text_of(page)
    assert "refused" in text
    assert "90.0 HU against 100.0 HU" in text


def test_params_say_how_many_pictures_there_are(tree):
    none = built(tree, ReportParams(strips=0, registration_cases=0))
    assert not list(parsed(none).iter(f"{HTML}img"))
    two = built(tree, ReportParams(strips=2, slices_per_case=3, registration_cases=1))
    assert len(list(parsed(two).iter(f"{HTML}img"))) == 2 * 3 * 4
    assert "4 more scored cases without pictures here." in text_of(two)


def test_the_page_does_not_say_what_each_stage_did(page):
    assert "Moved the CT onto each scan." in text_of(page)


def test_the_page_is_one_file_beside_what_every_out_has(page_file):
    names = sorted(path.name for path in page_file.parent.iterdir())
    assert names == ["excluded.json", "index.html", "units.json"]


def test_a_finding_of_every_patient_is_reported_in_every_row(tree):
    files = sorted(tree.folder("ingestion").glob("*/patient.json"))
    assert len(files) > 1
    for number, file in enumerate(files):
        facts = json.loads(file.read_text())
        facts["scans"]["ct"]["findings"] = ["bodies lie apart", f"own flaw {number}"]
        write_whole(file, canonical_json(facts))
    result = text_of(built(tree))
    assert result.count("CT: bodies lie apart") == 1
    assert result.count("own flaw 0") == result.count("own flaw 1") == 1
