"""``python -m synthct.tasks STAGE``: one stage, in this process; see ``chain/command.py``."""

import sys

from synthct.tasks.chain.command import main

if __name__ == "__main__":
    sys.exit(main())
