"""Runs the reference cases of the whole network of UniVS: short videos through its sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from fewshot.nn.clip_text import clip_text
from fewshot.systems.univs.answers import Candidates
from fewshot.systems.univs.build import build
from fewshot.systems.univs.checkpoint import clip_to_own, sizes_of, table
from fewshot.systems.univs.concepts import slice_of
from fewshot.systems.univs.config import UniVSConfig
from fewshot.systems.univs.decoder import LEVELS, Found, Prompts, Scenes, cells_not_to_look_at
from fewshot.systems.univs.draws import FixedDraws
from fewshot.systems.univs.entities import EntityRules, EntityState
from fewshot.systems.univs.entity_session import EntitySession, EntityVideo, SemanticSession
from fewshot.systems.univs.expression_session import ExpressionSession
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.object_session import ObjectSession, ObjectVideo
from fewshot.systems.univs.objects import ObjectState, ObjectTracker
from fewshot.systems.univs.text_prompts import words_and_sentence
from fewshot.weights.key_table import check_fit, convert
from tests.parity.reference import filled
from tests.parity.univs_reference import concepts, frames_of, mismatches, packed
from tests.parity.univs_tracking import Told, annotations_of, rules_of, tracker_of

Arrays = dict[str, Tensor]


def loaded(official: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> UniVS:
    """A UniVS of the sizes of its tensors in evaluation mode, with every official tensor in it."""
    config = config or {}
    kind = config.get("self_attn_mask_type", "sep")
    settings = UniVSConfig(
        **sizes_of(official),
        dense_points=config.get("dense_prompt_points", 32),
        separation="none" if kind == "all" else kind,
        text_to_image=config.get("text_prompt_to_image", True),
        freeze_backbone="frozen" in config.get("stage", "frozen"),
    )
    model, keys = build(settings), table()
    own, ignored, _ = convert(official, keys)
    assert {name for key in own for name in keys.to_official(key)} >= set(official) - set(ignored)
    check_fit(own, model.state_dict())
    model.load_state_dict(own)
    return model.eval()


def model_of(case: Mapping[str, Any], folder: Path) -> UniVS:
    """The model of a case, with the values that the case sets by hand."""
    official = filled(json.loads((folder / "keys.json").read_text()))
    for key, value in case.get("overrides", {}).items():
        official[key] = torch.full_like(official[key], float(value.split()[1]))
    return loaded(official, case["config"])


class Journal:
    """What a model computed, in the slices that the cases store."""

    def __init__(self, case: Mapping[str, Any]) -> None:
        self.arrays: Arrays = {}
        self.calls: dict[str, int] = {}
        self.prompts = _first_rows(case)
        step = case["recipe"]["out"].split("queries [")[1].split("]")[0].split(":")
        self.shown = slice(int(step[1]) if step[1] else None), int(step[-1])

    def add(self, name: str, value: Tensor) -> None:
        """The next call under this name."""
        call = self.calls.get(name, 0)
        self.calls[name] = call + 1
        self.arrays[f"{name}#{call}"] = value.detach().clone()

    def backbone(self, taps: Sequence[Tensor]) -> None:
        """Means of the taps."""
        for k, tap in enumerate(taps):
            self.add(f"backbone.res{k + 2}.mean", tap.mean((2, 3))[..., ::4])

    def clip(self, scenes: Scenes, levels: Sequence[Tensor], asked: Prompts | None) -> None:
        """What a clip enters the decoder with."""
        self.add("pixel.mask_features.mean", scenes.mask_features.mean((2, 3)))
        self.add("pixel.mask_features.corner", scenes.mask_features[:, ::16, ::4, ::4])
        for k, level in enumerate(levels):
            self.add(f"pixel.level{k}.mean", level.mean((2, 3)))
        if asked is None:
            return
        frames, (rows, step) = scenes.moments.shape[1], self.prompts
        self.add("prompt.output_prompt", asked.content[0, rows])
        self.add("prompt.query_embed_prompt", asked.place[0, rows])
        for name, tokens in (("feats", asked.tokens), ("pe", asked.positions)):
            if tokens is not None:
                summed = tokens.sum(3)[0].expand(-1, frames, -1)
                self.add(f"prompt.prompt_{name}_dense.sumL", summed[rows][::step])

    def head(self, x: Tensor, found: Found, size: tuple[int, int]) -> None:
        """Input and output of the heads."""
        self.add("dec.query.mean", x[0].mean(0))
        self.add("dec.query.l2", x[0].norm(dim=-1)[::2])
        self.add("dec.attn_true_count", cells_not_to_look_at(found.masks, size).sum(-1)[:, ::2].float())
        self.add("dec.mask_mean", found.masks.mean((3, 4))[:, ::2])

    def out(self, found: Found, learnable: int) -> None:
        """The last answer for a clip."""
        assert found.logits is not None
        end, step = self.shown
        self.add("out.pred_logits", found.logits[0][:, ::41])
        self.add("out.pred_masks.prompt", found.masks[0, learnable:][self.prompts[0]])
        self.add("out.pred_masks", found.masks[0][end][::step][: 25 if step == 8 else None])
        self.add("out.pred_embds", found.embeddings[0][::4, :, ::4])


def _first_rows(case: Mapping[str, Any]) -> tuple[slice, int]:
    """Which prompt queries a case stores, and the step at which sums of their tokens are stored after that."""
    extra = case.get("slices_extra", {})
    words = extra.get("prompt arrays", "").split()
    return slice(int(words[1]) if words else None), 8 if "vss .sumL" in extra and "vss" in case["task"] else 1


@contextmanager
def watched(model: UniVS, journal: Journal) -> Iterator[None]:
    """The model while its steps go to the journal."""
    heads, segment = model.decoder.heads, model.segment
    inputs: list[Tensor] = []
    outputs: list[Found] = []
    hooks = [
        heads.register_forward_pre_hook(lambda _, given: inputs.append(given[0])),
        heads.register_forward_hook(lambda _, given, result: outputs.append(result)),
    ]

    def spy(scenes: Scenes, asked: Prompts | None, **options: Any) -> list[Found]:
        inputs.clear()
        outputs.clear()
        embeds = model.decoder.level_embed.weight
        journal.clip(scenes, [x - e[:, None, None] for x, e in zip(scenes.levels, embeds, strict=True)], asked)
        found = segment(scenes, asked, **{"concepts": concepts(), **options})
        for i, (x, output) in enumerate(zip(inputs, outputs, strict=True)):
            level = scenes.levels[i % LEVELS]
            journal.head(x, output, (level.shape[-2], level.shape[-1]))
        journal.out(found[-1], model.sizes.num_queries)
        return found

    model.segment = spy  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.segment
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of the whole network."""
    model, journal = model_of(case, folder), Journal(case)
    inputs = case["inputs"]
    square = case["config"]["square_size"] if case["config"]["square_pad"] else None
    frames = frames_of(inputs["image_name"], inputs["frames"], inputs["height"], inputs["width"], square)
    model.backbone.register_forward_hook(lambda _, given, taps: journal.backbone(taps))
    kind = case["task"].split()[0]
    features = encoded(model, frames, case["config"], apart=kind == "vss")
    with watched(model, journal):
        if kind == "grounding":
            states = run_expressions(case, model, features, folder)
        else:
            states = RUNNERS[kind](case, model, features)
    return mismatches(case["expected"], {**journal.arrays, **states})


def encoded(model: UniVS, frames: Tensor, config: Mapping[str, Any], *, apart: bool) -> list[Tensor]:
    """Features of all frames, a window of them at a time, as soon as a clip needs it.

    Args:
        apart: clips share no frames.
    """
    clip, known, parts = config["frames_per_clip"], 0, []
    for start in range(0, len(frames) if apart else len(frames) - clip + 1, clip if apart else 1):
        if min(start + clip, len(frames)) > known:
            maps = model.encode_frames(frames[start : start + config["frames_window"]])
            parts.append([x[known - start :] for x in maps])
            known = start + len(maps[0])
    return [torch.cat(own) for own in zip(*parts, strict=True)]


def run_objects(case: Mapping[str, Any], model: UniVS, features: Sequence[Tensor]) -> Arrays:
    """VOS: objects that are given."""
    inputs, config = case["inputs"], case["config"]
    session = ObjectSession(model, tracker_of(config), FixedDraws())
    height, width = (4 * side for side in features[-1].shape[-2:])
    ids = tuple(case["object_ids_order"])
    start_state = ObjectState.start(ids, (inputs["height"], inputs["width"]), (height, width), 256)
    video, frames, given = ObjectVideo(start_state), config["frames_per_clip"], annotations_of(inputs)
    arrays: Arrays = {}
    for start in range(inputs["frames"] - frames + 1):
        video = session.step(video, [x[start : start + frames] for x in features], start, given)
        assert video.memory is not None
        stored = {
            **tracks_stored(video.tracks),
            "prompt_feats.sumL": video.memory.tokens.sum(2),
            "prompt_pe.sumL": video.memory.positions.sum(2),
        }
        arrays.update({f"state{start}.{name}": value for name, value in stored.items()})
    return arrays


def tracks_stored(state: ObjectState) -> Arrays:
    """What a case stores of the state of objects."""
    return {
        "masks.packbits": packed(state.masks),
        "mask_logits.s4": state.logits[..., ::4, ::4],
        "boxes": state.boxes,
        "embds": state.embeddings[..., ::4],
        "first_appear_frame_idxs": state.first,
    }


def run_entities(case: dict[str, Any], model: UniVS, features: Sequence[Tensor]) -> Arrays:
    """VIS and VPS: entities that are found."""
    inputs, config = case["inputs"], case["config"]
    rules = rules_of(case)
    session = EntitySession(model, concepts(), slice_of(inputs["dataset_name"]), rules, FixedDraws())
    size, frames = tuple(4 * side for side in features[-1].shape[-2:]), config["frames_per_clip"]
    classes = session.classes.stop - session.classes.start
    unpadded = (inputs["height"], inputs["width"])
    video = EntityVideo(EntityState.start(frames, unpadded, (size[0], size[1]), 256, classes))
    arrays: Arrays = {}
    discover = EntityRules.discover

    def watching(rules: EntityRules, state: EntityState, found: Candidates, start: int) -> EntityState:
        """What is stored between the two steps of the rules."""
        arrays.update({f"prop{start}.{name}": value for name, value in entities_stored(state).items()})
        return discover(rules, state, found, start)

    with patch.object(EntityRules, "discover", watching):
        for start in range(inputs["frames"] - frames + 1):
            video = session.step(video, [x[start : start + frames] for x in features], start)
            stored = entities_stored(video.entities)
            if video.memory is not None:
                memory = {"feats": video.memory.tokens, "pe": video.memory.positions}
                tokens = {f"prompt_{name}.sumL": x.sum(2)[..., ::4] for name, x in memory.items()}
                arrays.update({f"prop{start}.{name}": value for name, value in tokens.items()})
                stored.update(tokens)
            arrays.update({f"new{start}.{name}": value for name, value in stored.items()})
    for name, values in case.get("final", {}).items():
        if name != "segments_infos":
            case["expected"].setdefault(f"final.{name}", np.asarray(values))
    return {**arrays, **Told(case, rules).end(video.entities)}


def entities_stored(state: EntityState) -> Arrays:
    """What a case stores of the state of entities."""
    return {
        "logits": state.scores[..., ::2],
        "masks.packbits": packed(state.masks),
        "mask_logits.s8": state.logits[::2, :, ::8, ::8],
        "boxes": state.boxes,
        "embds": state.embeddings[..., ::4],
        "occurrence": state.occurrence,
        "mask_quality_scores": state.quality,
        "first_appear_frame_idxs": state.first.float(),
        "ids": state.ids,
    }


def run_semantic(case: Mapping[str, Any], model: UniVS, features: Sequence[Tensor]) -> Arrays:
    """VSS: a class for every pixel."""
    inputs, frames = case["inputs"], case["config"]["frames_per_clip"]
    session = SemanticSession(model, concepts(), slice_of(inputs["dataset_name"]), name_classes=True)
    sizes = (inputs["height"], inputs["width"]), (inputs["out_height"], inputs["out_width"])
    clips = [
        session.step([x[start : start + frames] for x in features], start, *sizes)
        for start in range(0, inputs["frames"], frames)
    ]
    return {"final.sem_mask": torch.cat(clips)}


def run_expressions(case: Mapping[str, Any], model: UniVS, features: Sequence[Tensor], folder: Path) -> Arrays:
    """RefVOS: targets that are described."""
    inputs, config = case["inputs"], case["config"]
    words, sentences = read_expressions(inputs["token_ids"], folder)
    threshold, memory = 0.5, config["num_prev_frames_memory"]
    tracker = ObjectTracker(memory, threshold, bounded=False, competition=False)
    session = ExpressionSession(model, words, sentences, tracker)
    height, width = (4 * side for side in features[-1].shape[-2:])
    ids = tuple(inputs["exp_obj_ids"])
    state = ObjectState.start(ids, (inputs["height"], inputs["width"]), (height, width), 256)
    frames = config["frames_per_clip"]
    arrays = {"text.word": words[:, :12], "text.sentence": sentences}
    for start in range(inputs["frames"] - frames + 1):
        state = session.step(state, [x[start : start + frames] for x in features], start)
        stored = tracks_stored(state)
        arrays.update({f"state{start}.{name}": value for name, value in stored.items()})
    return arrays


def read_expressions(token_ids: Sequence[Sequence[list[int]]], folder: Path) -> tuple[Tensor, Tensor]:
    """Words `(P, 77, D)` and sentences `(P, D)` of expressions, each in some templates, by the CLIP tower of a case."""
    own, ignored = clip_to_own(filled(json.loads((folder / "keys_clip.json").read_text())))
    tower = clip_text().eval()
    tower.encoder.load_state_dict(own)
    assert not ignored
    read = [words_and_sentence(*tower(tower.rows(list(rows)))) for rows in token_ids]
    words, sentences = zip(*read, strict=True)
    return torch.stack(words), torch.stack(sentences)


RUNNERS = {"sot": run_objects, "vis": run_entities, "vps": run_entities, "vss": run_semantic}
