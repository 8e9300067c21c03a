"""The science: functions of values and folders, without Prefect or DVC, and Dask in one file."""
