"""Names of the files that one stage or release writes and another reads, declared once.

``docs/reference/artefacts.md`` describes their content. A file that only its own stage reads is
named in that stage: a name that is added here makes every finished unit stale.
"""

UNIT_KEYS = "units.json"
"""In every output: ``{unit name: {"key", "content"}}``, so that a pulled output can be adopted."""
EXCLUDED = "excluded.json"
"""In every output: list of ``{"unit", "code", "where", "problem", "rule", "remedy"}``."""

DATASET = "dataset.json"
LABELS = "labels.json"
PATIENT = "patient.json"

PROJECTIONS, GEOMETRY, BEAM = "projections.mha", "geometry.xml", "beam.json"
"""In a folder of projections: the stack, RTK's geometry, and ``{"open_beam", "water_per_mm"}``."""
RECONSTRUCTED = "cbct.nii.gz"

CASE = "case.json"
SOURCE = "source.zarr"
MASK = "mask.zarr"
CT = "ct.zarr"
UNREGISTERED_CT = "unregistered_ct.zarr"
DISPLACEMENT = "displacement.zarr"
TRUTH_CT = "truth_ct.zarr"
TRUTH_LABELS = "truth_labels.zarr"
QUALITY = "quality.json"
QUALITY_TABLE = "quality.csv"

MODEL = "model.json"
WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
FOLDS = "folds.json"
PRETRAINED = "pretrained.json"

SCT = "sct.zarr"
SCT_SD = "sd.zarr"
ERRORS = "errors.json"
SCORES = "scores.csv"
SUMMARY = "summary.json"
TRUST = "trust.json"

CARD = "card.json"
CARD_PAGE = "card.html"
REFUSED = "refused.json"
CHECKSUMS = "checksums.json"

EFFECTS = "effects.csv"
OUTCOMES = "outcomes.csv"
MATRIX = "matrix.csv"
BIAS = "bias.csv"
PAGE = "index.html"
