"""The clusters of ``--cluster``: one module per kind, which starts the workers and ends them."""
