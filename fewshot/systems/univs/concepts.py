"""Vocabularies of UniVS: which rows of its class embeddings belong to which data set."""

from __future__ import annotations

ROWS = {  # data set: first row, number of classes
    "imagenet": (0, 1000),
    "lvis": (1000, 1203),
    "burst": (1000, 1203),
    "ytvis21": (2203, 40),
    "ovis": (2243, 25),
    "bdd_track": (2268, 8),
    "objects365": (2276, 365),
    "coco_panoptic": (2641, 133),
    "coco": (2641, 80),
    "ade20k": (2774, 150),
    "vipseg": (2924, 124),
    "vspw": (2924, 124),
    "viposeg": (2924, 124),
    "ytvis19": (3048, 40),
    "entityseg_instance": (3088, 206),
    "entityseg_panoptic": (3294, 644),
}


def slice_of(data: str) -> slice:
    """Rows of a data set in the official embeddings of all classes.

    Raises:
        ValueError: it has none; the message names those that have.
    """
    if data not in ROWS:
        raise ValueError(f"no class embeddings of {data!r} among the official ones: choose one of {', '.join(ROWS)}")
    first, count = ROWS[data]
    return slice(first, first + count)
