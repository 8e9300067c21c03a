"""Evaluation of synthetic CTs against references, compared with naive baselines."""
