"""Networks trained on unpaired scans: features to register with, weights to start from."""
