"""The embedded cohort: digital patients with known truth, written as DICOM like clinical scans."""
