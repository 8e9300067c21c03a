"""``python -m synthct.flows.run.alone STAGE``: one stage, with errors as `synthct` prints them."""

import sys

from synthct.tasks.chain.command import main

if __name__ == "__main__":
    sys.exit(main(prefix="synthct: "))
