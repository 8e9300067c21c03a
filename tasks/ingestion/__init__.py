"""Raw scans to checked volumes: one patient, one unit."""
