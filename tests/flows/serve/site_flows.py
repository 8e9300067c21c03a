"""In place of a worktree's `python -m synthct.flows`: prints its input, waits or fails."""

import json
import os
import sys
import time
from pathlib import Path

from synthct import flows

print(
    json.dumps(
        {
            "cwd": str(Path.cwd()),
            "code": flows.__file__,
            "arguments": sys.argv[1:],
            "params": Path("params.yaml").read_text(),
            "api": os.environ["PREFECT_API_URL"],
            "runs": os.environ["SYNTHCT_RUNS"],
        }
    ),
    flush=True,
)
marks = Path(os.environ["SYNTHCT_SERVED_ROOT"]) / "marks"
with (marks / "worked").open("a") as log:
    log.write(f"{sys.argv[1]}\n")
until = sys.argv[sys.argv.index("--until") + 1] if "--until" in sys.argv else ""
if until == "wait":
    (marks / f"waiting-{os.getpid()}").touch()
    time.sleep(300)
if until == "fail":
    print("scan.mha: a volume has three axes, got 2", flush=True)
    sys.exit(1)
if sys.argv[1] == "study":
    out = Path("workspaces/study/artefacts/study")
    out.mkdir(parents=True)
    (out / "index.html").write_text("effects")
    Path("workspaces/study/dvc.lock").write_text("schema: '2.0'\n")
else:
    Path("dvc.lock").write_text("schema: '2.0'\n")
    Path(sys.argv[sys.argv.index("--summary") + 1]).write_text("{}")
