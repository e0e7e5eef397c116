"""Names of the classes of the image benchmarks, as their data sets spell them. A class id is a position + 1."""

from __future__ import annotations

VOC = tuple(
    """aeroplane bicycle bird boat bottle bus car cat chair cow
    diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor""".split()
)

# In the order of the category ids (1, 2, .. 90, with gaps): a class id of COCO-20i is the place in this order.
COCO = tuple(
    name.strip()
    for name in """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
    fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow,
    elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee,
    skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle,
    wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
    dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
    toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush""".split(",")
)

# The classes of PASCAL VOC that COCO calls otherwise; all others have the same name.
COCO_NAME_OF_VOC = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


def common_name(name: str) -> str:
    """A class name as COCO would write it, to compare the classes of two benchmarks."""
    return COCO_NAME_OF_VOC.get(name, name).replace("_", " ")
