"""The rigid step: where it starts, the pose landscape, competing poses."""
