"""The memory of imports: it may save time, and never change a key."""

import json
import subprocess
import sys

import pytest

from synthct.tasks.pipeline import code, import_scan
from synthct.tasks.pipeline.import_scan import ImportScanCache, scan_text


def test_an_import_added_to_a_file_is_missing_from_its_key(tmp_path):
    memory = ImportScanCache(tmp_path)
    assert memory.scan(b"import numpy").imports == ("numpy",)
    memory.save()
    assert ImportScanCache(tmp_path).scan(b"import numpy, scipy").imports == ("numpy", "scipy")


def test_a_remembered_file_is_parsed_again_by_every_process(tmp_path, monkeypatch):
    memory = ImportScanCache(tmp_path)
    first = memory.scan(b"from synthct.data import volume\nKNOWN = Registry[int]('x')\n")
    assert first.registry
    memory.save()
    monkeypatch.setattr(import_scan, "scan_text", lambda content: pytest.fail("parsed again"))
    again = ImportScanCache(tmp_path)
    assert again.scan(b"from synthct.data import volume\nKNOWN = Registry[int]('x')\n") == first


@pytest.mark.parametrize("left", ["", "[1]", '{"half": ', "null"])
def test_a_memory_cut_short_by_a_full_disk_stops_every_command(left, tmp_path):
    memory = ImportScanCache(tmp_path)
    memory._file.write_text(left)
    assert memory.scan(b"import torch").imports == ("torch",)
    memory.save()
    assert len(json.loads(memory._file.read_text())) == 1


def test_a_checkout_that_cannot_be_written_stops_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    memory = ImportScanCache(tmp_path / "file")
    memory.scan(b"import torch")
    memory.save()


def test_two_commands_at_once_see_half_a_memory(tmp_path):
    memory = ImportScanCache(tmp_path)
    memory.scan(b"import torch")
    memory.save()
    assert [path.name for path in tmp_path.iterdir()] == [memory._file.name]


def test_the_graph_with_a_memory_finds_other_files_than_without():
    root = code.source_root()
    graph = code.CodeGraph(root)
    with_memory = graph.stage("synthct.tasks.training.run")
    bare = code.CodeGraph(root)
    bare._scans = {root / file: scan_text((root / file).read_bytes()) for file in with_memory
                   if file.suffix == ".py"}  # fmt: skip
    assert bare.stage("synthct.tasks.training.run") == with_memory


def test_reading_params_loads_libraries_that_compute():
    script = (
        "import sys\nfrom synthct.tasks.chain.params import parse_params\n"
        "parse_params('dataset: demo', where='')\n"
        "print({'numpy', 'scipy', 'SimpleITK', 'torch'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "set()"
