"""The report: one HTML file that shows what the chain did, to be opened anywhere, offline."""
