"""Serve a site in a process that a test can kill: ROOT PORT."""

import sys
from pathlib import Path

from synthct.flows.serve.serving import Ports, serve

if __name__ == "__main__":
    serve(Path(sys.argv[1]), Ports(page=int(sys.argv[2])), lambda line: print(line, flush=True))
