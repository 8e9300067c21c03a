"""From trained folds to a folder that runs without the pipeline, or to the reason why not."""
