"""A Weights & Biases run, online or offline. Nothing here asks a question or needs an account."""

from __future__ import annotations

import json
import logging
import netrc
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fewshot.run.logging.files import replace_file

logger = logging.getLogger(__name__)
INIT_TIMEOUT = 30.0  # seconds for W&B's server to answer before a run is recorded offline
Mode = Literal["online", "offline", "disabled"]
MODES: tuple[Mode, ...] = ("online", "offline", "disabled")


def resolve_mode(mode: str) -> Mode:
    """`auto` becomes `$WANDB_MODE` where it is set, else `online` with an API key and `offline` without.

    Raises:
        ValueError: an unknown mode.
    """
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)  # older names that W&B still takes
    for known in MODES:
        if mode == known:
            return known
    raise ValueError(f"logging mode {mode!r}: valid are auto, {', '.join(MODES)}")


def has_key() -> bool:
    """Whether an API key is configured: `$WANDB_API_KEY`, or a netrc entry for the server in `$WANDB_BASE_URL`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):  # no such file, or one that only its owner can repair
        return False


class WandbRun:
    """One W&B run whose files lie in `folder`; its id is kept there, so that a continued run is the same run.

    Args:
        folder: the run folder.
        config: plain types.
        mode: `online` or `offline`.
        group: run group, which keeps the folds of an experiment together.
        job_type: `train` or `eval`.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        mode: Mode,
        project: str,
        entity: str | None,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
    ) -> None:
        import wandb  # not before it is used: a run without W&B does not need it

        self._wandb = wandb
        self._redirected = redirect(folder / "wandb")
        options: dict[str, Any] = {
            "dir": str(folder),
            "id": stored_id(folder),
            "name": folder.name,
            "config": dict(config),
            "project": project,
            "entity": entity,
            "group": group,
            "job_type": job_type,
            "tags": list(tags),
            "resume": "allow",
            "settings": wandb.Settings(
                silent=True, console="off", save_code=False, disable_git=True, init_timeout=INIT_TIMEOUT
            ),
        }
        self.mode: Mode = mode
        try:
            self._run = wandb.init(mode=mode, **options)
        except wandb.errors.Error as error:
            if mode == "offline":
                raise
            logger.warning("W&B is not reached (%s): this run is recorded offline, `wandb sync` sends it later", error)
            wandb.teardown()  # W&B's process believes that the run has started
            self.mode = "offline"
            self._run = wandb.init(mode="offline", **options)
        # Rows carry their own step: after a continuation W&B's own counter would not match (offline it starts anew).
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def log(self, row: Mapping[str, Any]) -> None:
        """Send one row; it contains `step`."""
        self._run.log(dict(row))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the numbers that W&B's run table shows."""
        self._run.summary.update(dict(values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Send a table; cells that are paths become pictures."""
        cells = [[self._wandb.Image(str(cell)) if isinstance(cell, Path) else cell for cell in row] for row in rows]
        self._run.log({name: self._wandb.Table(columns=list(columns), data=cells)})

    def close(self, exit_code: int = 0) -> None:
        """Finish the run; what is not sent yet is sent."""
        self._run.finish(exit_code=exit_code)
        for name in self._redirected:
            os.environ.pop(name, None)


def redirect(folder: Path) -> list[str]:
    """Let W&B keep the pictures of tables and its cache in `folder`, as far as the user has not said where.

    Returns the names of the environment variables that were set.
    """
    folder.mkdir(exist_ok=True)
    wanted = {"WANDB_DATA_DIR": folder, "WANDB_CACHE_DIR": folder / "cache"}
    missing = {name: path for name, path in wanted.items() if name not in os.environ}
    os.environ.update({name: str(path.resolve()) for name, path in missing.items()})
    return list(missing)


def stored_id(folder: Path) -> str:
    """The id of the folder's W&B run: made at the first call (a sweep agent gives its own), the same ever after."""
    path = folder / "wandb_id.json"
    if not path.exists():
        own = os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:12]
        replace_file(path, json.dumps({"id": own}) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))["id"]
