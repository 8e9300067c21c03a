"""The rigid step: initial transforms, similarity as a function of the pose, competing poses."""
