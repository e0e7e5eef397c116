"""Evaluation against a system that knows the answer: every number is worked out by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from benchmarks.scores.scores import QueryScore
from episodes.batch import ClipBatch
from episodes.episode import Episode
from episodes.sampling.probes import probe_specs
from fewshot.evaluation.evaluate import evaluate, portion
from fewshot.evaluation.query import QueryResult, read_queries, read_supports
from fewshot.evaluation.scoring import mask_pairs, score_frames
from fewshot.inference.chunks import segment_queries
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import ReferenceState
from tests.episodes.memory import MemorySource, memory_specs
from tests.fewshot.evaluation.oracle import Oracle, OracleState, halve, halved


def run(system: Oracle, source: MemorySource, specs, chunk: int = 2, **options) -> list[QueryScore]:
    return evaluate(system, halved(source, chunk), specs, **{"progress": False, **options})


def test_whole_object_under_both_protocols() -> None:
    """Object in columns 3..9 of 16. Halved, column 1 is half covered (0.5 is not above 0.5): 2..4 are left of 8."""
    source = MemorySource()
    score = run(Oracle(), source, memory_specs(source)[:1])[0]
    assert (score.j_cma, score.f_cma) == (1.0, 1.0)
    # Back at 16 columns the prediction covers 4..9: six of seven columns; both borders are within one pixel.
    assert score.j_davis == pytest.approx(6 / 7)
    assert score.f_davis == 1.0
    assert (score.frames, score.seed, score.group, score.probe, score.episode) == (5, 0, 1, "", 0)
    assert (score.class_name, score.video, score.expression_id) == ("class1", "class1_1", "1")
    assert score.expression == "class1_1 thing 1"


def test_part_of_the_object_under_both_protocols() -> None:
    """Chunks of 3 take the second candidate: column 2 of 2..4 of the first object, nothing of the second one."""
    source = MemorySource(frames=3)
    first, second = run(Oracle(), source, memory_specs(source)[:1], chunk=3)
    assert first.j_cma == pytest.approx(1 / 3)
    # Radius 1: predicted borders in columns 1 and 2, true ones in 1 and 4 -> precision 1, recall 1/2.
    assert first.f_cma == pytest.approx(2 / 3)
    # At 16 columns: 4 and 5 of 3..9; borders 3 and 5 against 2 and 9 -> precision 1/2, recall 1/2.
    assert first.j_davis == pytest.approx(2 / 7)
    assert first.f_davis == pytest.approx(1 / 2)
    assert (second.j_cma, second.f_cma, second.j_davis, second.f_davis) == (0.0, 0.0, 0.0, 0.0)


def test_each_chunk_takes_its_own_candidate_and_the_last_one_is_shorter() -> None:
    source, system = MemorySource(), Oracle()
    score = run(system, source, memory_specs(source)[:1], chunk=3)[0]
    assert system.calls.lengths == [3, 2]  # both queries of the episode share a forward pass
    assert score.j_cma == pytest.approx((3 * (1 / 3) + 2 * 1) / 5)


def test_thresholds_at_one_half() -> None:
    half, truth = torch.full((1, 4, 4), 0.5), torch.ones(1, 4, 4, dtype=torch.bool)
    pairs = mask_pairs(half, truth)
    assert not pairs.network[0].any() and pairs.original[0].all()
    assert score_frames(pairs).tolist() == [
        [0.0, 1.0, 1.0, 1.0]
    ]  # a full mask has no boundary inside the image: F is 1


def test_absent_object_found_absent_scores_one() -> None:
    nothing = mask_pairs(torch.zeros(2, 4, 8), torch.zeros(2, 8, 16, dtype=torch.bool))
    assert score_frames(nothing).tolist() == [[1.0, 1.0, 1.0, 1.0]] * 2


def test_supports_are_encoded_once_per_class_and_frames_are_read_once_per_video() -> None:
    source, system = MemorySource(), Oracle()
    scores = run(system, source, memory_specs(source))
    assert len(scores) == 12
    assert len(system.calls.supports) == 3
    chunks = {0: 1, 1: 3, 2: 3}  # video 0 is the support; the five frames of the others come in twos
    expected = [f"class{c}_{k}" for c in (1, 2, 3) for k, times in chunks.items() for _ in range(times)]
    assert sorted(source.frames_read) == expected


def test_states_of_other_supports_are_not_mixed_up() -> None:
    source, system = MemorySource(), Oracle()
    first = memory_specs(source)[0]
    other = replace(first, index=9, supports=(replace(first.supports[0], object_id=2),), queries=first.queries[:1])
    run(system, source, [first, other])
    masks = [supports.masks[0] for supports in system.calls.supports]
    assert len(masks) == 2 and not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("world", [2, 4, 7])
def test_any_number_of_processes_gives_the_same_scores(world: int) -> None:
    source = MemorySource()
    specs = memory_specs(source)
    for probe in ("", "wrong_support", "shuffled_text"):
        alone = run(Oracle(), source, specs, chunk=3, probe=probe)
        parts = [run(Oracle(), source, specs, chunk=3, probe=probe, rank=r, world=world) for r in range(world)]
        assert [score for part in parts for score in part] == alone


def test_shares_cover_the_list_once() -> None:
    specs = memory_specs(MemorySource())
    assert [s for r in range(4) for s in portion(specs, r, 4)] == specs
    with pytest.raises(ValueError, match="rank 4 of 4"):
        portion(specs, 4, 4)


def test_a_pool_gives_the_same_scores_in_the_same_order() -> None:
    source = MemorySource()
    specs = memory_specs(source) * 4  # more than may be outstanding
    with ThreadPoolExecutor(2) as pool:
        assert run(Oracle(), source, specs, pool=pool) == run(Oracle(), source, specs)


def test_the_system_is_tested_in_eval_mode_and_left_as_it_was() -> None:
    source, system = MemorySource(), Oracle()
    system.train()
    system.frozen = torch.nn.Dropout().eval()
    run(system, source, memory_specs(source)[:1])
    assert system.calls.modes and not any(system.calls.modes)
    assert system.training and not system.frozen.training
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_every_query_is_shown_with_its_prediction() -> None:
    source, seen = MemorySource(), []
    run(Oracle(), source, memory_specs(source)[:1], on_query=seen.append)
    assert [(r.spec.index, r.start, r.query) for r in seen] == [(0, start, n) for start in (0, 2, 4) for n in (0, 1)]
    result: QueryResult = seen[0]
    assert result.probabilities.shape == (2, 4, 8) and result.clip.masks.shape == (2, 8, 16)
    assert result.masks().shape == (2, 8, 16) and seen[-1].frames == ("00004",)
    assert result.masks()[0, 0].nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8, 9]


def test_no_support_empties_frames_masks_and_words_only() -> None:
    source, system = MemorySource(), Oracle()
    specs = memory_specs(source)
    scores = run(system, source, specs, probe="no_support")
    assert len(system.calls.supports) == 3
    for supports in system.calls.supports:
        assert not supports.frames.any() and not supports.masks[0].any()
        assert supports.masks[0].shape == (3, 8, 16) and supports.expressions == ("object",)
    plain = run(Oracle(), source, specs)
    assert [replace(score, probe="") for score in scores] == plain  # the oracle looks at queries alone
    assert {score.probe for score in scores} == {"no_support"}


class Reader(Oracle):
    """An oracle that can do without supports, and keeps what it is given."""

    needs = frozenset()

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        assert state.supports is None
        return super().forward(queries, replace(state, supports=OracleState(queries.frames[:, 0, 0])))


def test_words_alone_come_without_supports_where_the_system_can_do_without() -> None:
    source, reader = MemorySource(), Reader()
    specs = memory_specs(source)
    scores = run(reader, source, specs, probe="name_only")
    assert not reader.calls.supports and {score.probe for score in scores} == {"name_only"}
    assert [replace(score, probe="") for score in scores] == run(Oracle(), source, specs)
    needy = Oracle()
    run(needy, source, specs, probe="name_only")
    assert [supports.expressions for supports in needy.calls.supports] == [("class1",), ("class2",), ("class3",)]
    assert not any(supports.frames.any() or supports.masks[0].any() for supports in needy.calls.supports)


def test_shuffled_text_reaches_the_system_and_keeps_the_ids() -> None:
    source, system = MemorySource(), Oracle()
    specs = memory_specs(source)
    scores = run(system, source, specs, probe="shuffled_text")
    assert [s.expression_id for s in scores] == ["1", "2"] * 6
    assert all(s.expression[:6] != s.class_name for s in scores)
    changed = [q.expression for spec in probe_specs(specs, "shuffled_text", MemorySource()) for q in spec.queries]
    assert [s.expression for s in scores] == changed


def test_segment_queries_gives_masks_at_the_size_on_disk() -> None:
    source = MemorySource()
    spec = memory_specs(source)[0]
    episode = Episode(spec, read_supports(source, spec, halve), read_queries(source, spec, halve))
    masks = segment_queries(Oracle(), episode, chunk=2)
    assert [m.shape for m in masks] == [(5, 8, 16)] * 2 and masks[0].dtype == torch.bool
    assert masks[0][4, 7].nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8, 9]
    raw = Episode(spec, tuple(map(source.read, spec.supports)), tuple(map(source.read, spec.queries)))
    with pytest.raises(ValueError, match="raw pixels"):
        segment_queries(Oracle(), raw)


def test_queries_share_their_frames() -> None:
    source = MemorySource()
    clips = read_queries(source, memory_specs(source)[0], halve)
    assert clips[0].frames is clips[1].frames
    assert not torch.equal(clips[0].masks, clips[1].masks)


def test_everything_is_the_object_whatever_the_model_says() -> None:
    """The object covers columns 3..9 of 16: seven sixteenths of every frame at the original size."""
    source = MemorySource()
    score = run(Oracle(), source, memory_specs(source)[:1], probe="everything")[0]
    assert score.probe == "everything"
    assert score.j_davis == pytest.approx(7 / 16)
