"""Speed and memory, always as ratios or beside a peer in the same run; `make bench`."""
