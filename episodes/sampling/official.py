"""Official test lists that come with the package: the very episodes of a released program, frozen in small files.

A file holds the images that each class is listed for and, of every fold and number of shots, the class, the query and
the supports of each episode as places in these lists. It needs no list files, and no draw.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from episodes.sampling.draws import STREAMS, Draw, Pair

FORMAT = "fewshot-official-1"
FOLDER = Path(__file__).parent / "lists_of_programs"
NAMES = dict(zip(STREAMS, ("hsnet", "pfenet"), strict=True))  # of the programs, by queries and supports
Rows = Sequence[tuple[Pair, Sequence[str]]]  # class and query, supports


@dataclass(frozen=True)
class OfficialList:
    """The test episodes of a program on a benchmark.

    Attributes:
        name: of the file.
        seed: of the program.
        pools: class id -> its images, sorted, of all folds.
        episodes: fold -> shots -> columns `classes`, `queries` (places among all images, sorted) and `supports` (places
            in the pool of the class, episode after episode).
    """

    name: str
    seed: int
    pools: Mapping[int, Sequence[str]]
    episodes: Mapping[int, Mapping[int, Mapping[str, Sequence[int]]]]

    def draws(self, group: int, shots: int) -> list[Draw]:
        """The episodes of a fold. Raises ValueError for a fold or a number of shots that the file does not have."""
        of_group = self.episodes.get(group, {})
        if shots not in of_group:
            known = ", ".join(map(str, of_group))
            raise ValueError(f"{self.name} has group {group} with {known or 'no'} shots, not with {shots}: {ELSE}")
        columns, images = of_group[shots], _images(self.pools)
        classes, queries, supports = (columns[name] for name in ("classes", "queries", "supports"))
        return [
            Draw(c, images[q], partial(list, [self.pools[c][k] for k in supports[i * shots : (i + 1) * shots]]))
            for i, (c, q) in enumerate(zip(classes, queries, strict=True))
        ]


ELSE = "take draws=stream, or draws=indexed"


def official_list(benchmark: str, queries: str, supports: str, seed: int) -> OfficialList:
    """The frozen list of the program that draws `queries` and `supports` so, see `episodes.sampling.images`.

    Raises:
        ValueError: there is none of this benchmark or with this seed.
    """
    path = official_file(benchmark, queries, supports)
    if not path.is_file():
        have = ", ".join(sorted(file.name for file in FOLDER.glob("*.json.gz")))
        raise ValueError(
            f"no official list of {benchmark} with queries={queries} and supports={supports} comes with this package "
            f"({have}): its program's draws were not recorded; {ELSE}"
        )
    found = _read(path)
    if seed != found.seed:
        raise ValueError(f"{found.name} is the list of seed={found.seed}, not of {seed}: of other seeds {ELSE}")
    return found


def official_file(benchmark: str, queries: str, supports: str) -> Path:
    """The file of a list, whether it is there or not."""
    return FOLDER / f"{NAMES.get((queries, supports), queries)}_{benchmark}.json.gz"


def pack(seed: int, pools: Mapping[int, Sequence[str]], episodes: Mapping[int, Mapping[int, Rows]]) -> bytes:
    """The content of a file: equal lists give equal bytes."""
    place = {image: k for k, image in enumerate(_images(pools))}
    places = {c: {image: k for k, image in enumerate(pool)} for c, pool in pools.items()}
    content = {
        "format": FORMAT,
        "seed": seed,
        "pools": pools,
        "episodes": {
            group: {
                shots: {
                    "classes": [c for (c, _), _ in rows],
                    "queries": [place[query] for (_, query), _ in rows],
                    "supports": [places[c][image] for (c, _), images in rows for image in images],
                }
                for shots, rows in of_group.items()
            }
            for group, of_group in episodes.items()
        },
    }
    return gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0)


@cache
def _read(path: Path) -> OfficialList:
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    assert content["format"] == FORMAT, path  # comes with the package
    episodes = {
        int(group): {int(shots): columns for shots, columns in of_group.items()}
        for group, of_group in content["episodes"].items()
    }
    pools = {int(c): tuple(images) for c, images in content["pools"].items()}
    return OfficialList(path.name, content["seed"], pools, episodes)


def _images(pools: Mapping[int, Sequence[str]]) -> list[str]:
    return sorted({image for pool in pools.values() for image in pool})
