"""Registration: the CT moved onto each MR and CBCT, with a gate that catches a wrong result."""
