"""``python -m synthct.flows``: ``synthct`` with the code of this folder."""

from synthct.flows.cli.app import app

if __name__ == "__main__":
    app()
