"""When and where: the Prefect flow, the cluster, the command line."""
