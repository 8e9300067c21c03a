"""Names of sources, references, methods and measures, as readers see them."""

from __future__ import annotations

SOURCE_NAMES = {"mr": "MR → CT", "cbct": "CBCT → CT"}
MODALITIES = {"ct": "CT", "mr": "MR", "cbct": "CBCT"}
REFERENCES = {"registered": "against the registered CT", "truth": "against the true CT",
              "source": "against the source scan"}  # fmt: skip
METHODS = {
    "model": "model",
    "linear": "linear calibration",
    "two_point": "blind two-point calibration",
    "tissue_classes": "three tissue classes",
    "lookup": "intensity look-up",
    "constant": "constant tissue",
    "raw": "CBCT itself",
    "unregistered": "unregistered CT",
    "registered": "registered CT",
    "ceiling": "true CT itself",
}
"""Methods in the order in which they are shown."""

MEASURES = {
    "mae_hu": ("MAE", "HU"),
    "me_hu": ("ME", "HU"),
    "psnr_db": ("PSNR", "dB"),
    "ms_ssim": ("MS-SSIM", ""),
    "ssim_2023": ("SSIM 2023", ""),
}
"""Image metrics: name and unit."""


def source_name(source: str) -> str:
    """What is predicted from what: ``MR → CT``; an unknown source keeps its name."""
    return SOURCE_NAMES.get(source, source)


def reference_name(reference: str) -> str:
    """What a score is against; an unknown reference keeps its name."""
    return REFERENCES.get(reference, reference)


def method_name(method: str) -> str:
    """How a CT was predicted; an unknown method keeps its name."""
    return METHODS.get(method, method)
