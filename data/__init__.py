"""What a scan is and where it lies. No science, no orchestration."""
