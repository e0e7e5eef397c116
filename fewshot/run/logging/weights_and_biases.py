"""A Weights & Biases run, online or offline. Nothing here asks a question or needs an account."""

from __future__ import annotations

import configparser
import json
import logging
import netrc
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fewshot.run.logging.files import replace_file
from fewshot.run.signals import Interrupted

logger = logging.getLogger(__name__)
INIT_TIMEOUT = 30.0  # seconds for W&B's server to answer before a run is recorded offline
FIRST_HOST = "api.wandb.ai"
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
    """Whether an API key is configured: `$WANDB_API_KEY`, or a netrc entry for the server that W&B talks to."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        known = netrc.netrc(str(path)).hosts
    except (OSError, netrc.NetrcParseError):  # no such file, or one that only its owner can repair
        return False
    return any(host in known for host in hosts())


def hosts() -> list[str]:
    """The server that the installed W&B talks to: `$WANDB_BASE_URL`, else that of `wandb login --host`, else its own.

    Its own has had several names, for which older entries are still good.
    """
    chosen = os.environ.get("WANDB_BASE_URL") or _stored_host()
    if chosen is not None:
        return [urlsplit(chosen).netloc]
    import wandb  # not before it is asked: a run without W&B does not need it

    return [urlsplit(wandb.Settings().base_url).netloc, FIRST_HOST]


def _stored_host() -> str | None:
    """The server in W&B's own settings file, None where there is none."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings", encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):  # W&B itself complains of it
        return None
    return settings.get("default", "base_url", fallback=None)


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
        self._run: Any = None
        self._try(lambda: self._start(options))

    def _start(self, options: Mapping[str, Any]) -> None:
        try:
            self._run = self._wandb.init(mode=self.mode, **options)
        except self._wandb.errors.Error as error:
            if self.mode == "offline":
                raise
            logger.warning("W&B is not reached (%s): this run is recorded offline, `wandb sync` sends it later", error)
            self._end_process()  # which believes that the run has started
            self.mode = "offline"
            self._run = self._wandb.init(mode="offline", **options)
        # Rows carry their own step: after a continuation W&B's own counter would not match (offline it starts anew).
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def _try(self, act: Callable[[], Any]) -> None:
        """Do something with W&B. What breaks there is warned of once, and the run goes on without it."""
        if self.mode == "disabled":
            return
        try:
            act()
        except Exception as error:  # its process was killed, its connection was lost, whatever else
            reason = str(error) or type(error).__name__
            logger.warning("W&B fails (%s): the run goes on without it, its numbers are in metrics.jsonl", reason)
            self.mode = "disabled"
            self._end_process()

    def _end_process(self) -> None:
        """End W&B's own process, which would complain at the end of the program."""
        try:
            self._wandb.teardown()
        except Interrupted:
            raise
        except (Exception, SystemExit) as error:  # it ends the program with the exit code of a process that was killed
            logger.debug("W&B's process is gone: %s", error)

    def log(self, row: Mapping[str, Any]) -> None:
        """Send one row; it contains `step`."""
        self._try(lambda: self._run.log(dict(row)))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the numbers that W&B's run table shows."""
        self._try(lambda: self._run.summary.update(dict(values)))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Send a table; cells that are paths become pictures."""
        self._try(lambda: self._run.log({name: self._table(columns, rows)}))

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        cells = [[self._wandb.Image(str(cell)) if isinstance(cell, Path) else cell for cell in row] for row in rows]
        return self._wandb.Table(columns=list(columns), data=cells)

    def close(self, exit_code: int = 0) -> None:
        """Finish the run; what is not sent yet is sent."""
        self._try(lambda: self._run.finish(exit_code=exit_code))
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
