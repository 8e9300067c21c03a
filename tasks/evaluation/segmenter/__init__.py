"""Segmentation of CTs and synthetic CTs, with a small network or TotalSegmentator."""
