"""What `python -m fewshot.freeze` writes of the protocols of images, what it replaces, and what not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.protocols.images import IMAGE_PROTOCOLS
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.sampling.manifest import episodes_digest, read_header, read_manifest, write_manifest
from episodes.sources import open_source
from fewshot.freeze import check_target
from tests.commands import typed
from tests.episodes.image_tree import blocks, square, write_coco, write_mask, write_picture, write_voc


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


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of the test classes of a fold of each benchmark, in the layouts of the field."""
    root = tmp_path_factory.mktemp("layouts")
    images: dict[str, tuple[int, ...]] = {f"v{k}": (1, 2) if k % 2 else (2,) for k in range(7)}
    write_voc(root / "pascal5i", images, val=list(images))
    for part in ("train2014", "val2014"):
        shown = [(1, square(1, 1, 6), 0)]  # a person is of group 0
        write_coco(root / "coco20i", part, {f"COCO_{part}_{k:012d}": shown for k in range(6)})
    for name in ("a", "b", "c"):
        for k in range(1, 6):
            write_picture(root / "fss1000" / name / f"{k}.jpg")
            write_mask(root / "fss1000" / name / f"{k}.png", np.dstack([255 * blocks([1])] * 3))
    (root / "fss1000" / "fss_test_set.txt").write_text("a\nb\n")
    return root


STREAMED = ["hsnet pascal5i", "pfenet pascal5i", "pfenet coco20i", "bam pascal5i", "bam coco20i"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2
@pytest.mark.parametrize("case", [*STREAMED, "hsnet coco20i", "hsnet fss1000"])
def test_the_list_of_each_protocol_is_frozen_from_ones_own_data(
    layouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    protocol, benchmark = case.split()
    rules, root, cache = IMAGE_PROTOCOLS[protocol], layouts / benchmark, tmp_path / "cache"
    data = [f"benchmark={benchmark}", f"data.root={root}", f"data.cache={cache}", "group=0", "shots=2"]
    data += [f"queries={rules.rule(benchmark).queries}", f"supports={rules.supports}", f"seed={rules.seeds[0]}"]
    draws, digests = "stream" if case in STREAMED else "indexed", []
    for name in ("one", "again"):
        out = tmp_path / f"{name}.jsonl"
        assert typed("freeze", [*data, f"draws={draws}", f"out={out}"]) == 0, capsys.readouterr().err
        specs = read_manifest(out, open_source(benchmark, root, cache))
        digests.append(episodes_digest(specs))
        assert f"sha256 {digests[-1]}, which every reader" in capsys.readouterr().out
        assert read_header(out)["sha256"] == digests[-1] and {spec.shots for spec in specs} == {2}
    assert digests[0] == digests[1]
    out.write_text(out.read_text().replace('"seed":', '"seed":1', 2))
    with pytest.raises(ValueError, match="the episodes do not match the hash in its header"):
        read_manifest(out, open_source(benchmark, root, cache))
