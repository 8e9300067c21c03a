"""CTs and synthetic CTs segmented alike: by the project's small network or TotalSegmentator."""
