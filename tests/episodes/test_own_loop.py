"""The code of docs/episodes-in-your-own-loop.md, run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "episodes-in-your-own-loop.md"


def test_the_script_of_the_page_learns(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "loop.py").write_text(code, encoding="utf-8")
    environment = {
        **os.environ,
        "FEWSHOT_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(PAGE.parents[1]),
        "OMP_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [sys.executable, "loop.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    losses = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    assert len(losses) == 3 and losses[-1] < 0.8 * losses[0], done.stdout
