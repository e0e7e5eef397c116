"""What `python -m fewshot.freeze` replaces, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from episodes.episode import ClipSpec, EpisodeSpec
from episodes.sampling.manifest import write_manifest
from fewshot.freeze import check_target
from tests.commands import typed


class AnySource:
    """As much of a data set as the header of a list needs."""

    name = "synthetic"

    def fingerprint(self) -> str:
        return "0"


def test_a_list_is_replaced_when_it_is_asked_for(tmp_path: Path) -> None:
    clip = ClipSpec("dax_000", 1, ("00000",))
    spec = EpisodeSpec("synthetic", 1, "test", 0, 0, 1, "dax", (clip,), (clip,))
    out = tmp_path / "list.jsonl"
    check_target(out, False)
    write_manifest(out, [spec], AnySource())  # type: ignore[arg-type]
    check_target(out, True)
    with pytest.raises(FileExistsError, match="list.jsonl exists already: give another out=<file>, or overwrite=true"):
        check_target(out, False)


@pytest.mark.parametrize("content", [b"my notes\n", b"", b"\x89PNG\r\n\xff", b"{}\n", b'{"format": 1}\n', None])
def test_nothing_else_is_replaced(tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "notes"
    if content is None:
        out.mkdir()
    else:
        out.write_bytes(content)
    assert typed("freeze", [f"out={out}", "overwrite=true", f"data.cache={tmp_path}"]) == 1
    assert "notes is no list of episodes that this program wrote, and is not replaced" in capsys.readouterr().err
    assert out.is_dir() if content is None else out.read_bytes() == content
    assert list(tmp_path.iterdir()) == [out]
