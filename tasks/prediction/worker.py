"""One prediction of a batch in its own process: ``python -m synthct.tasks.prediction.worker``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError, SynthctError, UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.readers import format_of
from synthct.tasks.pipeline.ending import die_with_parent
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file


def main(order_file: Path) -> int:
    """Predict and write the answer file; unexpected exceptions end the process without one."""
    die_with_parent()
    order = json.loads(order_file.read_text())
    try:
        answer: dict[str, Any] = {"kind": "done", "document": _predict(order)}
    except SynthctError as error:
        answer = {"kind": _kind(error), "error": _anonymous(error, order)}
    except OSError as error:
        described = SynthctError(
            str(error.strerror or error),
        )
        answer = {"kind": "machine", "error": described.as_json()}
    write_whole(Path(order["answer"]), canonical_json(answer))
    return 0


def _predict(order: dict[str, Any]) -> dict[str, Any]:
    scan, out = Path(order["scan"]), Path(order["out"])
    as_series, dicom = order["form"] == "dicom", format_of(scan) == "dicom"
    target = out / ("sct" if as_series else f"sct.{order['form']}")
    itself = as_series and order["identified"] and dicom
    document = predict_file(
        Path(order["model"]),
        scan,
        target,
        dicom_reference=scan if itself else None,
        uncertainty=out / "uncertainty.mha" if order["uncertainty"] else None,
        options=PredictOptions(**order["options"]),
        public_key=Path(order["public_key"]) if order["public_key"] else None,
        series=order["series"] if dicom else "",
    )
    return {**document, "out": target.name}


def _kind(error: SynthctError) -> str:
    if (
        isinstance(error, DataError) or error.code == "memory-cap"
    ):  # an error of this scan, not of the machine
        return "data"
    return "usage" if isinstance(error, UsageError) else "machine"


def _anonymous(error: SynthctError, order: dict[str, Any]) -> dict[str, Any]:
    """The error with the scan's key in place of paths, which may contain names."""
    scan = order["scan"]
    return {
        name: text.replace(scan, order["key"]) if isinstance(text, str) else text
        for name, text in error.as_json().items()
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
