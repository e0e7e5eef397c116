"""A program in the place of a training: it takes `key=value` words, and leaves a run folder. Nothing is imported that
takes time.

`score` is its result (with `{lr}` and the like filled in), `validations` how often it is told before, `pause` the
seconds between. `fails=group=2` makes the run with that word fail, `kills=group=2` kills the worker first, `waits` is a
file for whose removal it waits, `damages` one that the run of group 1 spoils.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

words = sys.argv[1:]
given = dict(word.split("=", 1) for word in words)
folder = Path(given["out"]) / given["name"]
folder.mkdir(parents=True, exist_ok=True)
with (folder / "starts.jsonl").open("a") as file:
    file.write(json.dumps(words) + "\n")


def save(signum: int, frame: object) -> None:
    (folder / "saved").touch()
    sys.exit(128 + signum)


signal.signal(signal.SIGTERM, save)
if given.get("fails") in words:
    print("error: out of luck", file=sys.stderr)
    sys.exit(1)
if given.get("kills") in words:
    os.kill(os.getppid(), signal.SIGKILL)
while "waits" in given and Path(given["waits"]).exists():
    time.sleep(0.02)
score = eval(given.get("score", "50.0").format(**given))
rows = int(given.get("validations", "0"))
for k in range(1, rows + 1):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10 * k, "val/score": score * k / rows}) + "\n")
    time.sleep(float(given.get("pause", "0")))
if "damages" in given and given["group"] == "1":
    with Path(given["damages"]).open("ab") as journal:
        journal.write(b"\0\n")
if "template" in given:  # results.json of another run, which is changed into that of this one
    content = json.loads(Path(given["template"]).read_text())
    content["run"]["trained_with_seed"] = int(given.get("seed", 0))
    for fold in content["folds"]:
        if fold["group"] is not None:  # that is the mean over the folds
            fold["group"] = int(given["group"])
    (folder / "results.json").write_text(json.dumps(content))
(folder / "finished.json").write_text(json.dumps({"optimized_metric": score}))
