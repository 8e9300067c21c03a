"""Registration of the CT onto each MR and CBCT, with a gate that detects wrong results."""
