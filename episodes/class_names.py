"""Names of the classes of the benchmarks, as their data sets spell them. A class id is a position + 1."""

from __future__ import annotations

VOC = tuple(
    """aeroplane bicycle bird boat bottle bus car cat chair cow
    diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor""".split()
)

MINI_REF_YTVOS = tuple(
    """hat plant hand horse raccoon squirrel bus boat crocodile penguin motorbike truck hedgehog lion earless_seal
    whale elephant mouse snail camel shark giraffe tiger frog cat dolphin cow dog bear zebra airplane leopard fox
    turtle deer train sedan sheep fish bird rabbit duck snake monkey parrot lizard giant_panda person""".split()
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

# Made-up nouns, so that no word says what a class looks like.
SYNTHETIC = tuple(
    """dax blicket wug toma fep zav modi gazzer koba tulver lorp snarn virdex plonk quib drane
    mirf cheem kazzle yorp brell torben zib hask glim opler fendle nurb sprock vash tibbit wozzle
    jarg pellow crint dobbin ruffet hyl skrim almo bexer tarsk vimp clore ganzer ludo strope nim""".split()
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
