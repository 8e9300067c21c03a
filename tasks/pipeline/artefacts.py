"""Names of the files that one stage or release writes and another reads: spelled here alone.

``docs/architecture.md`` says what each holds. The file of one stage's own stays with that stage: a
name that is added here makes every finished unit stale.
"""

UNIT_KEYS = "units.json"
"""In every out: {unit name: {"key": ..., "content": ...}}, so a pulled out can be adopted back."""
EXCLUDED = "excluded.json"
"""In every out: list of {"unit", "code", "where", "problem", "rule", "got", "remedy"}."""

DATASET = "dataset.json"
LABELS = "labels.json"
PATIENT = "patient.json"

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

SCT = "sct.zarr"
SCT_SD = "sd.zarr"
SCORES = "scores.csv"
SUMMARY = "summary.json"
TRUST = "trust.json"

CARD = "card.json"
CARD_PAGE = "card.html"
REFUSED = "refused.json"
CHECKSUMS = "checksums.json"

EFFECTS = "effects.csv"
MATRIX = "matrix.csv"
BIAS = "bias.csv"
PAGE = "index.html"
