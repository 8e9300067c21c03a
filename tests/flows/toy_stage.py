"""A stage of the toy chain: tells events, may wait for ever, may be poisoned."""

import json
import os
import sys
import time
from pathlib import Path

name, reads = sys.argv[1], sys.argv[2]
text = Path(reads).read_text()


def tell(**event):
    with open(os.environ["SYNTHCT_EVENTS"], "a") as file:
        file.write(json.dumps({"stage": name, "time_s": time.time(), **event}) + "\n")


tell(kind="units_planned", total=2, reused=1)
if Path(f"wait-{name}").exists():
    Path("started").write_text(str(os.getpid()))
    time.sleep(float(os.environ.get("SYNTHCT_TOY_NAP_S", "600")))
tell(kind="unit_done", unit="b", done=2, total=2, seconds=0.1, reused=False, excluded=False)
if Path(f"poison-{name}").exists():
    sys.stderr.write("scan.mha: a volume has three axes, got 2; remove it\n")
    sys.exit(1)
out = Path("out") / name
out.mkdir(parents=True, exist_ok=True)
(out / "result.txt").write_text(f"{text.strip()} {name}\n")
(out / "excluded.json").write_text("[]\n")
