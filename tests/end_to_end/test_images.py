"""Few-shot segmentation of images from the command line: training, tests under several protocols, refusals."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import require_shared

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

SMALL = ("threads=1", "logging=disabled", "benchmark.test_episodes=4", "test.bootstrap=50", "test.pictures=1")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder to work in, which also holds the generated world."""
    return tmp_path_factory.mktemp("images")


def call(place: Path, program: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m fewshot.<program>`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FEWSHOT_CACHE": str(place / "cache")}
    command = [sys.executable, "-m", f"fewshot.{program}", *arguments]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_uniref_trains_on_stills_and_is_tested_under_two_protocols(place: Path) -> None:
    code, out, err = call(
        place,
        "meta_train",
        *("benchmark=synthetic_images", "group=0", "name=stills", "benchmark.world_videos=4"),
        *("train.steps=3", "train.batch=2", "train.prototype_fraction=0.4", "benchmark.val_episodes=4", *SMALL),
    )
    assert code == 0, err
    for said in ("training: 36 classes", "val mIoU", "protocol hsnet", "mIoU", "FB-IoU", "wrong_support mIoU / FB-IoU"):
        assert said in out, said
    folder = place / "runs" / "stills"
    assert (folder / "learning_curve.png").is_file()
    real = [fold for fold in results(folder)["folds"] if fold["probe"] == "" and fold["group"] == 0]
    assert real[0]["queries"] == 4 and {"mIoU", "FB-IoU"} <= set(real[0]["estimates"]["hsnet"])
    with (folder / "results.csv").open() as sheet:
        rows = list(csv.DictReader(sheet))
    assert {row["probe"] for row in rows} == {"", "no_support", "wrong_support", "name_only"}  # none to shuffle
    assert all(int(row["union_bg"]) + int(row["inter_fg"]) == 64 * 64 for row in rows)

    code, out, err = call(
        place, "meta_test", "-m", "weights=runs/stills", "group=0", "shots=2", "protocol=hsnet,uniref", *SMALL
    )
    assert code == 0, err
    assert "2 per episode" in out and "K one-shot masks are summed" in out  # hsnet: the supports vote
    assert "the network is given the K supports at once" in out  # uniref
    tested = [p for p in (place / "runs").iterdir() if p.name.startswith("test-")]
    assert {name for p in tested for name in ("hsnet", "uniref") if f"-{name}-" in p.name} == {"hsnet", "uniref"}


@pytest.mark.parametrize("world", ["synthetic_images", "pascal5i_small"])
def test_univs_trains_on_images_and_is_tested_with_its_probes(place: Path, world: str) -> None:
    """Masks of supports are prompts for images of other things; there are no words."""
    data = ["benchmark.world_videos=4"]
    if world == "pascal5i_small":
        voc = require_shared("data", "voc2012-subset")
        data = [f"data.root={voc}", f"data.lists={voc / 'lists-filtered' / 'hsnet'}", "benchmark.test_size=96"]
        data += ["benchmark.train_sizes=[96]", "benchmark.train_max_size=128"]
    code, out, err = call(
        place,
        "meta_train",
        *(f"benchmark={world}", "system=univs_tiny", "group=2", f"name=univs-{world}", *data),
        *("train.steps=3", "train.batch=2", "train.prototype_fraction=0.4", "benchmark.val_episodes=2", *SMALL),
    )
    assert code == 0, err
    assert "loss_dice" in out and "wrong_support mIoU / FB-IoU" in out
    (fold,) = [f for f in results(place / "runs" / f"univs-{world}")["folds"] if f["probe"] == "" and f["group"] == 2]
    assert fold["queries"] == 4


def test_every_group_of_stills(place: Path) -> None:
    small = ("benchmark.world_videos=4", "test.probes=[]", "name=groups", *SMALL)
    code, out, err = call(place, "meta_test", "system=prototype", "benchmark=synthetic_images", "group=all", *small)
    assert code == 0, err
    assert {fold["group"] for fold in results(place / "runs" / "groups")["folds"]} == {0, 1, 2, 3, None}


def test_a_folder_that_is_too_small_for_a_validation(place: Path) -> None:
    data = require_shared("data", "perseg-examples")
    small = ("train.steps=1", "train.batch=1", "test.probes=[]", "benchmark.train_sizes=[64]", "benchmark.test_size=64")
    rest = ("benchmark=folder", "group=0", f"data.root={data}", "system=prototype", *small, *SMALL)
    code, _, err = call(place, "meta_train", *rest, "name=with")
    assert code == 1 and err.splitlines()[-1].endswith("or train without validation: train.select_on=last")
    code, out, err = call(place, "meta_train", *rest, "train.select_on=last", "name=without")
    assert code == 0, err
    assert "training goes without validation" in out + err and "last: the last one, nothing chosen" in out
    frozen = place / "frozen.jsonl"
    freeze = ("benchmark=folder", "group=0", f"data.root={data}", "queries=first", "count=2", f"out={frozen}")
    subprocess.run([sys.executable, "-m", "fewshot.freeze", *freeze], check=True, cwd=place)
    code, out, err = call(place, "meta_test", "weights=runs/without", "group=0", f"manifest={frozen}", "name=again")
    assert code == 0, err
    assert "frozen in frozen.jsonl, 2 per fold and seed" in out and "every pixel of the masks" in out
    digest = json.loads(frozen.read_text().splitlines()[0])["sha256"]
    stored = json.loads((place / "runs" / "again" / "results.json").read_text())["run"]
    assert (stored["manifest"], stored["groups"]["0"]["episodes"]) == ("frozen.jsonl", digest)
    code, _, err = call(place, "meta_test", "weights=runs/without", "group=x")
    assert code == 1 and "group=x: give the number of a group, or all" in err


def test_real_images_with_the_lists_of_the_field(place: Path) -> None:
    voc = require_shared("data", "voc2012-subset")
    code, out, err = call(
        place,
        "meta_test",
        *("system=prototype", "benchmark=pascal5i", "group=2", f"data.root={voc}", "benchmark.test_size=96"),
        *(f"data.lists={voc / 'lists-filtered' / 'hsnet'}", "test.probes=[wrong_support]", "name=voc", *SMALL),
    )
    assert code == 0, err
    (fold,) = [f for f in results(place / "runs" / "voc")["folds"] if f["probe"] == "" and f["group"] == 2]
    assert fold["queries"] == 4
    names = set(results(place / "runs" / "voc")["classes"]["main"])
    assert names <= {"diningtable", "dog", "horse", "motorbike", "person"} and names
    assert list((place / "runs" / "voc" / "pictures").glob("overview_group2.png"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("system=cma_tiny", "benchmark=pascal5i", "data.root=."), "system.name=cma needs an expression"),
        (("system=prototype", "benchmark=synthetic_images", "protocol=cma"), "valid are hsnet, pfenet, bam, uniref"),
        (("system=prototype", "benchmark=synthetic", "protocol=hsnet"), "valid are cma, cma_per_class, clean, "),
        (
            ("system=prototype", "benchmark=synthetic_images", "benchmark.draws=stream", "group=0"),
            "protocol=hsnet, benchmark=synthetic_images: draws=stream is known of HSNet on PASCAL-5i",
        ),
        (("system=prototype", "benchmark=synthetic_images", "group=4"), "has the groups 0, 1, 2, 3, all"),
        (("system=prototype", "benchmark=pascal5i", "group=0"), "data.root is not set"),
        (("system=prototype", "benchmark=pascal5i", "group=0", "data.root=nowhere"), "nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused(place: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = call(place, "meta_test", *arguments, *SMALL)
    assert code == 1
    assert said in err and "Traceback" not in err
