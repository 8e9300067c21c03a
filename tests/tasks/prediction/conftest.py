from __future__ import annotations

import os

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from synthct.data.files import canonical_json, write_whole
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.prediction.checksums import write_checksums
from synthct.tasks.prediction.inbox import PrefixInbox
from synthct.tasks.prediction.release import Member, ReleaseDescription

LONG_AGO_S = 1_500_000_000


@pytest.fixture
def model():
    """A 2.5-D model description with a 32 x 32 window."""
    return ModelDescription(
        source="mr",
        fold=0,
        network={"name": "toy"},
        slices=3,
        patch_size=(32, 32),
        divisor=8,
        spacing_mm=(6.0, 2.0, 2.0),
        source_scaling=SourceScaling(),
        target_scaling=TargetScaling(),
    )


@pytest.fixture
def scan():
    """A textured scan (6, 50, 41) and a mask of a box in it."""
    random = np.random.default_rng(7)
    array = (100 + 20 * random.standard_normal((6, 50, 41))).astype(np.float32)
    inside = np.zeros(array.shape, np.uint8)
    inside[1:5, 4:47, 3:36] = 1
    grid = Grid(array.shape, (3.0, 1.0, 1.0))
    return Volume(array, grid, Modality.MR), Volume(inside, grid, Modality.MASK)


GRID = Grid((12, 48, 40), (6.0, 2.0, 2.0), (-20.0, -30.0, 15.0))
"""Where the small patient lies: the model's own spacing, so that nothing is interpolated."""


def small_patient(grid: Grid = GRID) -> Volume:
    """A bright textured ellipse in dark air, as MR."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.shape], indexing="ij")
    body = (y / 0.8) ** 2 + (x / 0.7) ** 2 < 1
    random = np.random.default_rng(3)
    array = np.where(body, 300 + 80 * np.sin(9 * y + 4 * x + z), 2)
    array = array + random.normal(0, 1, grid.shape)
    return Volume(array.astype(np.float32), grid, Modality.MR)


@pytest.fixture
def patient():
    return small_patient()


def point_graph(weight: float) -> bytes:
    """ONNX: tanh(weight * middle slice), three channels in."""
    kernel = np.zeros((1, 3, 1, 1), np.float32)
    kernel[0, 1] = weight
    free = ["b", 3, "y", "x"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["source", "kernel"], ["raw"], kernel_shape=[1, 1]),
            helper.make_node("Tanh", ["raw"], ["sct"]),
        ],
        "toy",
        [helper.make_tensor_value_info("source", TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info("sct", TensorProto.FLOAT, ["b", 1, "y", "x"])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return made.SerializeToString()


@pytest.fixture
def release(tmp_path, model):
    """A release of two folds, 0.2 and 0.4 times the z-score."""
    return write_release(tmp_path / "release", model, (0.2, 0.4))


@pytest.fixture
def make_release():
    return write_release


def write_release(folder, model, weights):
    members = []
    for fold, weight in enumerate(weights):
        write_whole(folder / f"fold{fold}.onnx", point_graph(weight))
        write_whole(folder / f"fold{fold}.safetensors", b"weights")
        members.append(
            Member(
                fold=fold, onnx=f"fold{fold}.onnx", weights=f"fold{fold}.safetensors", network={}
            )
        )
    description = ReleaseDescription(source=model.source, members=members, preprocessing=model)
    write_whole(folder / "model.json", description.as_text())
    write_whole(folder / "card.json", canonical_json({"not_for_clinical_use": "never"}))
    write_checksums(folder)
    return folder


@pytest.fixture
def scan_file(tmp_path, patient):
    write_image(tmp_path / "scan.mha", patient)
    return tmp_path / "scan.mha"


@pytest.fixture
def dicom(tmp_path, patient):
    attributes = {
        "PatientBirthDate": "19500203", "PatientSex": "F", "AccessionNumber": "A77",
        "StudyDescription": "Planning", "FrameOfReferenceUID": "1.2.3.4", "PatientPosition": "HFS",
    }  # fmt: skip
    write_series(
        tmp_path / "dicom", patient, patient_id="Secret^Name", study="study",
        series_description="T1", attributes=attributes, uid_seed="hospital",
    )  # fmt: skip
    return tmp_path / "dicom"


@pytest.fixture
def folder(tmp_path):
    """An inbox with one scan of 24 slices that is half copied, its dates kept."""
    inbox = tmp_path / "in"
    (inbox / "Doe Jane").mkdir(parents=True)
    for number in range(12):
        slice_of(inbox, number)
    return inbox


def slice_of(inbox, number):
    file = inbox / "Doe Jane" / f"{number:02d}.dcm"
    file.write_bytes(b"slice %d" % number)
    os.utime(file, (LONG_AGO_S, LONG_AGO_S))


@pytest.fixture
def prefix(s3, tmp_path):
    """An S3 inbox, and a way to put any key below it: raw, as an attacker would."""
    from synthct.data.store.connection import connect

    url = f"{s3}/{tmp_path.name}/in"
    system, _ = connect(url)

    def put(name, body):
        bucket, _, rest = url.removeprefix("s3://").partition("/")
        system.call_s3("put_object", Bucket=bucket, Key=f"{rest}/{name}", Body=body)

    return PrefixInbox(url, settle_s=0.2), put
