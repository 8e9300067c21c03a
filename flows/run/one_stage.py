"""``python -m synthct.flows.run.one_stage STAGE``: one stage, with the errors of `synthct`."""

import sys

from synthct.tasks.chain.command import main

if __name__ == "__main__":
    sys.exit(main(prefix="synthct: "))
