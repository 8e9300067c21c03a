"""The science: functions of values and folders. Knows no Prefect, no DVC, Dask in one file."""
