"""Charts, tables and pictures that the report and the study share."""
