"""``python -m flows``: ``synthct`` with the code of this folder."""

from flows.cli import app

if __name__ == "__main__":
    app()
