"""Export of trained folds as a release that runs without the pipeline, or its refusal."""
