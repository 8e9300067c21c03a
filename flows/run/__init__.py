"""One run of the chain: stages, Prefect, progress and summary."""
