"""Synthetic CT from MRI and cone-beam CT."""
