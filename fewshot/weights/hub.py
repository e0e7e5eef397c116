"""The Hugging Face Hub: names and downloads. Nothing is fetched but by these calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from fewshot.weights.files import CONFIG, TOKENIZER, WEIGHTS

FILES = (WEIGHTS, CONFIG, f"{TOKENIZER}/*")


def is_hub_name(name: str | Path) -> bool:
    """True for a name that can be meant for the Hub: `user/name`, no path here, and no folder `user` is here."""
    parts = str(name).split("/")
    plain = isinstance(name, str) and len(parts) == 2 and all(part.strip(".~") for part in parts)
    return plain and not Path(parts[0]).exists()


def download(name: str, **options: Any) -> Path:
    """The files of a system on the Hub, as a local folder.

    Raises:
        FileNotFoundError: no such system there, or the Hub cannot be reached.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES), **options))
    except (HfHubHTTPError, OSError, ValueError) as error:
        offline = " (offline: HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"no weights at {name}: there is no such folder here, and the Hugging Face Hub gave none{offline}: {reason}"
        ) from error
