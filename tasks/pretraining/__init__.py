"""Networks trained on scans without partners: features to register with, weights to start from."""
