"""Charts, tables and pictures, shared by the report and the study."""
