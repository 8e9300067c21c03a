from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from synthct.tasks.export.graph import export_graph, strip
from synthct.tasks.models.networks import NETWORKS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def exported(describe):
    """(network, its graph)."""
    torch.manual_seed(0)
    network = NETWORKS.build("toy", {"slices": 3}).build().eval()
    return network, export_graph(network, describe(), 18)


@pytest.mark.slow
def test_another_process_and_checkout_exports_the_same_bytes(describe, tmp_path):
    script = (
        "import hashlib, torch; from synthct.tasks.export.graph import export_graph;"
        "from synthct.tasks.models.description import ModelDescription as M;"
        "from pathlib import Path;"
        f"m = M.load(Path({str(tmp_path / 'model.json')!r}));"
        "n = torch.nn.Conv2d(3, 1, 3, padding=1); torch.nn.init.constant_(n.weight, .1);"
        "torch.nn.init.zeros_(n.bias);"
        "print(hashlib.sha256(export_graph(n, m, 18)).hexdigest())"
    )
    describe().save(tmp_path / "model.json")
    there = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "5"},
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    network = torch.nn.Conv2d(3, 1, 3, padding=1)
    torch.nn.init.constant_(network.weight, 0.1)
    torch.nn.init.zeros_(network.bias)
    assert hashlib.sha256(export_graph(network, describe(), 18)).hexdigest() == there


def test_no_path_or_stack_trace_of_this_machine_is_in_the_file(exported):
    graph = exported[1]
    for secret in (b"site-packages", b".py", b"stack_trace", str(ROOT).encode()):
        assert secret not in graph
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


@pytest.mark.parametrize(("batch", "y", "x"), [(1, 32, 32), (3, 48, 36), (2, 8, 4)])
def test_batch_and_patch_size_are_free(exported, batch, y, x):
    network, graph = exported
    session = onnxruntime.InferenceSession(graph)
    inputs = torch.randn(batch, 3, y, x, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(inputs).numpy()
    got = session.run(None, {"source": inputs.numpy()})[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_stripping_leaves_the_given_graph_alone():
    proto = onnx.ModelProto(producer_name="someone")
    assert strip(proto).producer_name == "synthct"
    assert proto.producer_name == "someone"


@pytest.mark.slow
def test_the_chains_own_network_keeps_its_answer_in_onnx(describe):
    torch.manual_seed(3)
    options = {"slices": 3, "width": 4}
    network = NETWORKS.build("unet_plus_plus", options).build().eval()
    model = describe(network={"name": "unet_plus_plus", **options}, patch_size=(64, 64), divisor=32)
    session = onnxruntime.InferenceSession(export_graph(network, model, 18))
    inputs = torch.randn(1, 3, 96, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(inputs).numpy()
    got = session.run(None, {"source": inputs.numpy()})[0]
    assert np.abs(got - expected).max() < 1e-4
