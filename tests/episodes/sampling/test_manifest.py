from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from episodes.catalogue import folds_of
from episodes.sampling.images import image_test_episodes
from episodes.sampling.manifest import read_header, read_manifest, write_manifest
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import MiniRefSource, open_source
from fewshot.config.keys import schema_keys
from fewshot.freeze import PROGRAM, FreezeConfig
from tests.commands import typed
from tests.episodes.image_tree import blocks, write_mask, write_voc
from tests.episodes.tree import INNER

YTVOS = folds_of("mini_ref_ytvos")


@pytest.fixture(scope="module")
def specs(tiny) -> list:
    return test_episodes(tiny, YTVOS, 1, shots=1, seed=0, support_frames=2)


@pytest.fixture
def path(tiny, specs, tmp_path):
    write_manifest(tmp_path / "deep" / "m.jsonl", specs, tiny, {"seed": 0})
    return tmp_path / "deep" / "m.jsonl"


def test_a_manifest_gives_the_same_episodes_back(tiny, specs, path) -> None:
    assert read_manifest(path, tiny) == specs
    header = read_header(path)
    assert header["count"] == len(specs) and header["benchmark"] == "mini_ref_ytvos"
    assert header["arguments"] == {"seed": 0} and header["fingerprint"] == tiny.fingerprint()
    assert [p.name for p in path.parent.iterdir()] == ["m.jsonl"], "no temporary file is left"


def test_training_episodes_can_be_frozen_too(tiny, tmp_path) -> None:
    episodes = TrainEpisodes(tiny, YTVOS, 1, "val", shots=2, seed=1, query_frames=2, support_frames=2)
    first = [episodes[i] for i in range(5)]
    write_manifest(tmp_path / "v.jsonl", first, tiny)
    assert read_manifest(tmp_path / "v.jsonl", tiny) == first


def edit(path, change) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(change(lines)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:-1], r"has \d+ episodes, not \d+ as its header says"),
        (lambda x: [*x[:-1], x[-1][:-20]], r"has \d+ episodes, not"),
        (lambda x: [x[0], x[1].replace("left", "right"), *x[2:]], "do not match the hash in its header"),
        (lambda x: [x[0], x[2], x[1], *x[3:]], "do not match the hash"),
        (lambda x: x[1:], "first line is not a header"),
        (lambda x: ["hello\n", *x], "first line is not a header"),
        (lambda x: [], "first line is not a header"),
        (lambda x: [x[0].replace("episodes-1", "episodes-9"), *x[1:]], "format 'fewshot-episodes-9', this version"),
        (lambda x: [x[0].replace("mini_ref_ytvos", "synthetic"), *x[1:]], "is for benchmark 'synthetic'"),
    ],
)
def test_a_changed_manifest_is_refused(tiny, path, change, message) -> None:
    edit(path, change)
    with pytest.raises(ValueError, match=message):
        read_manifest(path, tiny)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"hat-1"', '"hat-9"', "video 'hat-1' is not there"),
        ('"frames": ["00000"', '"frames": ["00001"', "has no frame '00000'"),
        ("LEFT hat number 1", "RIGHT hat number 1", "the episodes' videos are there, but other"),
        ('"1": {"exp": "a hat', '"7": {"exp": "a hat', "has no expression '1' for object 1"),
    ],
)
def test_another_data_set_is_refused_and_the_difference_named(tiny_root, path, tmp_path, old, new, message) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_root, other)
    for name in ("train/meta.json", "meta_expressions/train/meta_expressions.json"):
        file = other / INNER / name
        file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ValueError, match=f"another version of mini_ref_ytvos .*{message}"):
        read_manifest(path, MiniRefSource(other, YTVOS))


def test_a_manifest_of_the_former_name_is_read_as_the_benchmark_of_today(world, tmp_path) -> None:
    episodes = TrainEpisodes(world, folds_of("synthetic"), 1, "val", shots=1, seed=0, query_frames=2, support_frames=2)
    specs = [episodes[i] for i in range(4)]
    former = [replace(spec, benchmark="invented") for spec in specs]
    write_manifest(tmp_path / "old.jsonl", former, world)
    edit(tmp_path / "old.jsonl", lambda lines: [lines[0].replace('"synthetic"', '"invented"'), *lines[1:]])
    assert read_header(tmp_path / "old.jsonl")["benchmark"] == "invented"
    assert read_manifest(tmp_path / "old.jsonl", world) == specs
    with pytest.raises(ValueError, match="benchmark 'invented' is called 'synthetic' now: write synthetic"):
        open_source("invented")


def test_missing_and_empty(tiny, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="make it with python -m fewshot.freeze"):
        read_manifest(tmp_path / "none.jsonl", tiny)
    with pytest.raises(ValueError, match="at least one episode"):
        write_manifest(tmp_path / "none.jsonl", [], tiny)


def freeze(root, out, *more: str) -> int:
    return typed("freeze", ["benchmark=mini_ref_ytvos", f"data.root={root}", "support_frames=2", f"out={out}", *more])


def test_two_runs_write_the_same_bytes(tiny, tiny_root, tmp_path, capsys) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_root, copy)
    assert freeze(tiny_root, tmp_path / "a.jsonl", "group=2", "shots=2", "seed=4") == 0
    assert freeze(copy, tmp_path / "b.jsonl", "group=2", "shots=2", "seed=4") == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    expected = test_episodes(tiny, YTVOS, 2, shots=2, seed=4, support_frames=2)
    assert read_manifest(tmp_path / "a.jsonl", tiny) == expected
    assert f"{len(expected)} episodes of mini_ref_ytvos, group 2, split test" in capsys.readouterr().out


def test_freezing_validation_episodes(tiny, tiny_root, tmp_path) -> None:
    assert freeze(tiny_root, tmp_path / "v.jsonl", "split=val", "count=7", "query_frames=3") == 0
    specs = read_manifest(tmp_path / "v.jsonl", tiny)
    assert len(specs) == 7 and all(s.split == "val" and len(s.queries[0].frames) == 3 for s in specs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gruop=2"], "unknown key 'gruop'. Did you mean 'group'? --help lists the keys"),
        (["data.rot=x"], "Did you mean 'data.root'?"),
        (["qqqq=2"], "unknown key 'qqqq'. --help"),
        (["group"], "expected key=value, got 'group'"),
        (["group=two"], "group=two: give a whole number from 0 to 1,000"),
        (["group="], "group is empty"),
        (["group=9", "out=x"], "no group 9; valid groups: 1, 2, 3, 4"),
        (["shots=0", "out=x"], "shots=0: the smallest valid value is 1"),
        (["shots=99", "out=x"], "99 shots need 100 videos of a class, and no class has them"),
        (["split=val", "out=x"], "split=val is endless: say how many episodes"),
        (["split=dev", "count=3", "out=x"], "split=dev: valid are test, train, val"),
        (["benchmark=mine", "out=x"], "benchmark=mine: valid are synthetic, mini_ref_ytvos"),
        (["data.root=nowhere", "out=x"], "data.root=nowhere is not a folder"),
        ([], "missing: out=…"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tiny_root, tmp_path, monkeypatch, capsys, words, message
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {w.partition("=")[0] for w in words}
    defaults = {"benchmark": "mini_ref_ytvos", "data.root": str(tiny_root)}
    assert typed("freeze", [*(f"{k}={v}" for k, v in defaults.items() if k not in given), *words]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def voc(tmp_path):
    images = {f"{split}{k}": [c] for split in "at" for k in range(6) for c in [1 + k % 2]}
    write_voc(tmp_path / "voc", images, val=[x for x in images if x[0] == "t"])
    return tmp_path / "voc"


def freeze_images(voc, out, *words: str) -> int:
    return typed("freeze", ["benchmark=pascal5i", f"data.root={voc}", f"out={out}", *words])


def test_image_episodes_are_frozen_and_read_back(voc, tmp_path) -> None:
    assert freeze_images(voc, tmp_path / "a.jsonl", "queries=uniform", "count=9", "shots=2", "seed=1") == 0
    assert freeze_images(voc, tmp_path / "b.jsonl", "queries=uniform", "count=9", "shots=2", "seed=1") == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    source = open_source("pascal5i", voc)
    arguments = {"shots": 2, "seed": 1, "count": 9, "queries": "uniform"}
    assert read_manifest(tmp_path / "a.jsonl", source) == image_test_episodes(source, source.folds, 0, **arguments)
    header = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["arguments"]
    assert (header["group"], header["queries"], header["min_area"], header["count"]) == (0, "uniform", 0, 9)

    assert freeze_images(voc, tmp_path / "t.jsonl", "group=1", "split=train", "count=4", "drop_novel=true") == 0
    drawn = read_manifest(tmp_path / "t.jsonl", source)
    assert len(drawn) == 4 and {s.class_id for s in drawn} == {1, 2}


def test_the_lists_of_the_field_can_be_frozen(voc, tmp_path) -> None:
    (tmp_path / "lists" / "val").mkdir(parents=True)
    (tmp_path / "lists" / "val" / "fold0.txt").write_text("t0__01\nt2__01\nt1__02\n")
    assert freeze_images(voc, tmp_path / "a.jsonl", f"data.lists={tmp_path / 'lists'}") == 0
    specs = read_manifest(tmp_path / "a.jsonl", open_source("pascal5i", voc))
    assert [s.queries[0].video for s in specs] == ["t0", "t2"]


def test_a_changed_mask_makes_a_manifest_invalid(voc, tmp_path) -> None:
    assert freeze_images(voc, tmp_path / "a.jsonl") == 0
    write_mask(voc / "VOCdevkit" / "VOC2012" / "SegmentationClassAug" / "t0.png", blocks([3]))
    with pytest.raises(ValueError, match="was made from another version of pascal5i"):
        read_manifest(tmp_path / "a.jsonl", open_source("pascal5i", voc))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["queries=all"], "queries must be one of list, images, uniform, each, first, got 'all'"),
        (["draws=stream"], "draws=stream is known of HSNet on PASCAL-5i"),
        (["query_frames=3"], "query_frames is for benchmarks of videos, and pascal5i is not one: leave it out"),
        (["drop_novel=maybe", "split=train"], "drop_novel=maybe: give true or false"),
        (["split=val"], "split=val is endless: say how many episodes with count="),
        (["group=3"], "no class has them (0 images: pottedplant, sheep, sofa, train, tvmonitor)"),
        (["group=4"], "no group 4; valid groups: 0, 1, 2, 3"),
        (["data.lists=nowhere"], "no lists under data.lists=nowhere"),
    ],
)
def test_wrong_arguments_for_images(voc, tmp_path, capsys, words, message) -> None:
    assert freeze_images(voc, tmp_path / "a.jsonl", *words) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.jsonl").exists()


def test_keys_of_images_are_not_for_videos(tiny_root, tmp_path, capsys) -> None:
    assert freeze(tiny_root, tmp_path / "a.jsonl", "supports=distinct") == 1
    assert "supports is for benchmarks of images, and mini_ref_ytvos is not one" in capsys.readouterr().err
    assert freeze(tiny_root, tmp_path / "a.jsonl", "queries=list") == 1
    assert "queries of videos must be one of clean, cma, got 'list'" in capsys.readouterr().err


def test_help_explains_every_key_with_examples(capsys) -> None:
    assert typed("freeze", ["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {key.name}=" in text for key in schema_keys(FreezeConfig))
    assert [line.split()[3:] for line in text.splitlines() if line.startswith("  python -m fewshot.freeze")]
    for words, _ in PROGRAM.examples:
        assert PROGRAM.parsed(words.split()).out, "the examples are valid"


def test_the_header_says_how_the_list_was_made(tiny_root, tmp_path) -> None:
    freeze(tiny_root, tmp_path / "a.jsonl", "group=3")
    arguments = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["arguments"]
    assert arguments["group"] == 3 and arguments["split"] == "test"
    assert str(tiny_root) not in json.dumps(arguments), "paths of a machine do not belong into the list"
