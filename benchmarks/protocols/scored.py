"""Protocols of the tasks without folds by name, and the rules in words of those whose numbers have one reading."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.protocols.expressions import EXPRESSION_PROTOCOLS
from benchmarks.protocols.protocol import NamedRules
from benchmarks.protocols.tasks import TASK_PROTOCOLS, reading_of


@dataclass(frozen=True)
class ScoreProtocol(NamedRules):
    """Rules of numbers that have one reading here, in words.

    Attributes:
        counts: what is counted of a sample.
        averages: how the samples are put together.
        missing: what a sample without a result counts.
    """

    counts: str
    averages: str
    missing: str


SCORE_PROTOCOLS = {  # by the word of `task.score`
    "ris": ScoreProtocol(
        "ris",
        "Wu et al., UniRef++, 2023, as its evaluation counts",
        "the mask of an expression in an image at its original size; two empty masks have IoU 0",
        "oIoU: sum of the intersections over sum of the unions; mIoU: mean of the IoUs; P@K: share above K",
        "an empty mask",
    ),
    "sentences": ScoreProtocol(
        "sentences",
        "Botach et al., MTTR, CVPR 2022, as its evaluation counts",
        "all candidates of a sentence about a frame with their scores for mAP, else the best one; IoU in 32-bit floats",
        "mAP over IoU .50:.05:.95, one category; oIoU: sum of the intersections over sum of the unions; mIoU: mean of "
        "the IoUs; P@K: share above K",
        "refused",
    ),
    "davis": ScoreProtocol(
        "davis_semi_supervised",
        "Pont-Tuset et al., The 2017 DAVIS Challenge, its toolkit",
        "J and F (boundary tolerance 0.008) of each object with its number as given, first and last frame left out",
        "mean over the frames of an object, then over the objects; J&F is the mean of both",
        "refused",
    ),
    "davis_unsupervised": ScoreProtocol(
        "davis_unsupervised",
        "Caelles et al., The 2019 DAVIS Challenge, its toolkit; Khoreva et al., ACCV 2018, for the annotators",
        "J and F (boundary tolerance 0.008) of each object in all frames, assigned freely; identity: numbers kept",
        "mean over the frames of an object, then over the objects, then over the annotators; J&F is the mean of both",
        "refused",
    ),
    "expressions": ScoreProtocol(
        "expressions",
        "J and F of DAVIS, of each expression on its own object",
        "J and F (boundary tolerance 0.008) of each expression in all frames whose truth is there",
        "mean over the frames of an expression, then over the expressions; J&F is the mean of both",
        "refused",
    ),
}
_BY_NAME: dict[str, NamedRules] = {
    **TASK_PROTOCOLS,
    **{rules.name: rules for rules in (*EXPRESSION_PROTOCOLS.values(), *SCORE_PROTOCOLS.values())},
}


def rules_of_test(score: str, benchmark: str, kind: str, reading: str | None = None) -> NamedRules | None:
    """The rules by which a test counts; None where it counts nothing.

    Args:
        score: the word of `task.score`.
        benchmark, kind: the data set, and its kind in the catalogue.
        reading: name of the protocol of a kind that has several; None: the usual one.
    """
    if score == "protocol":
        return reading_of(kind, reading)
    if score == "expressions" and benchmark in EXPRESSION_PROTOCOLS:
        return EXPRESSION_PROTOCOLS[benchmark]
    return SCORE_PROTOCOLS.get(score)


def task_rules(name: str) -> NamedRules:
    """The protocol of a task by its name. Raises ValueError for an unknown one, with the valid ones and the closest."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    from episodes.hints import did_you_mean  # not needed for a name that is known

    raise ValueError(f"unknown protocol {name!r}.{did_you_mean(name, _BY_NAME)} Valid: {', '.join(_BY_NAME)}")
