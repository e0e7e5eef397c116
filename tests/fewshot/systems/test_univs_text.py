"""UniVS: CLIP's text tower from a folder, and embeddings of classes from it or from files."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from episodes.catalogue import names
from fewshot.inference.model import Model, load
from fewshot.nn.clip_text import CLIPText, clip_text
from fewshot.systems.registry import build_system, find_system, make_system
from fewshot.systems.univs.checkpoint import clip_to_official
from fewshot.systems.univs.clip_files import read_tower
from fewshot.systems.univs.concepts import FOLDER, Concepts, read_concepts, slice_of, write_concepts
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.templates import TEMPLATES, clean_name
from fewshot.systems.univs.text_tower import CLIPTextTower
from fewshot.weights.checkpoint import CheckpointError

WIDTH = 64
LETTERS = string.ascii_lowercase + string.digits + ".,'-"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / FOLDER


def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with one token for each letter and a few words."""
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "da", "dax</w>"]
    names = ["!", *pieces, "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: n for n, name in enumerate(names)}, merges=[("d", "a"), ("da", "x</w>")])


def tower() -> CLIPText:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return clip_text(WIDTH, 1, len(tokenizer())).eval()


def clip_folder(folder: Path, kind: str) -> Path:
    """A folder of a tiny random CLIP, with weights of transformers or of an official file."""
    tokenizer().save_pretrained(folder)
    if kind == "transformers":
        tower().encoder.save_pretrained(folder)
    else:
        torch.save({"model": clip_to_official(tower().encoder.state_dict())}, folder / "text.pth")
    return folder


def settings(**changes: Any) -> UniVSConfig:
    return UniVSConfig(**{**SMALL, "text": "clip", "text_dim": WIDTH, "freeze_text": True, **changes})


def system(**changes: Any) -> UniVS:
    built = make_system(settings(**changes), 0).eval()
    assert isinstance(built, UniVS)
    return built


@pytest.mark.parametrize("kind", ["transformers", "official"])
def test_a_folder_gives_the_tower(tmp_path: Path, kind: str) -> None:
    found = read_tower(clip_folder(tmp_path, kind))
    expected = CLIPTextTower(tower(), tokenizer())
    for a, b in zip(found(["the dax", "a"]), expected(["the dax", "a"]), strict=True):
        assert torch.equal(a, b)
    assert found(["the dax"])[0].shape == (1, 77, WIDTH) and found.fingerprint == expected.fingerprint


def test_an_expression_is_the_words_of_the_first_template_and_the_mean_of_all_ends() -> None:
    clip, read = tower(), tokenizer()
    words, sentences = CLIPTextTower(clip, read)(["a dax"])
    ids = clip.rows([read(t.format("a dax"), add_special_tokens=False)["input_ids"] for t in TEMPLATES])
    with torch.no_grad():
        states, ends = clip(ids)
    assert ids[0, 0] == clip.start and ids[0].max() == clip.end and TEMPLATES[0] == "{}."
    torch.testing.assert_close(words[0], states[0])
    torch.testing.assert_close(sentences[0], ends.mean(0))


def test_a_class_is_the_mean_over_81_templates_without_normalisation() -> None:
    clip, read = tower(), tokenizer()
    found = CLIPTextTower(clip, read).embed_names(["Traffic_Light (2)", "dax"])
    ids = [read(t.format("traffic light"), add_special_tokens=False)["input_ids"] for t in TEMPLATES]
    with torch.no_grad():
        expected = clip(clip.rows(ids))[1].mean(0)
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 81 and TEMPLATES[1] == "a photo of a {}."
    torch.testing.assert_close(found[0], expected)
    assert clean_name("Sofa/couch-bed_3") == "sofa couch bed"


def test_class_embeddings_are_kept_under_a_hash_of_tower_templates_and_words(cache: Path) -> None:
    first = system_with(CLIPTextTower(tower(), tokenizer()))
    made = first.embed_classes(["dax", "toma"])
    (kept,) = cache.iterdir()
    assert torch.equal(system_with(Refusing(tower(), tokenizer())).embed_classes(["dax", "toma"]), made)
    first.embed_classes(["toma", "dax"])
    other = CLIPTextTower(tower(), tokenizer(), TEMPLATES[:3])
    assert not torch.allclose(system_with(other).embed_classes(["dax", "toma"]), made)
    changed = tower()
    torch.nn.init.ones_(changed.encoder.text_projection.weight)
    system_with(CLIPTextTower(changed, tokenizer())).embed_classes(["dax", "toma"])
    assert len(list(cache.iterdir())) == 4
    kept.write_bytes(kept.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=f"{kept.name} is damaged .*: remove it"):
        first.embed_classes(["dax", "toma"])


class Refusing(CLIPTextTower):
    def embed_names(self, names: Any) -> Tensor:
        raise AssertionError("the embeddings were there already")


def system_with(text: CLIPTextTower) -> UniVS:
    built = system()
    built.text = text
    return built


def test_a_vocabulary_without_embeddings_names_its_words_and_how_to_make_them(tmp_path: Path) -> None:
    how = r"system.text=clip system.text_weights=FOLDER"
    with pytest.raises(ValueError, match=rf"of 2 of 2 classes \('dax', 'toma'\).*{how}"):
        system().embed_classes(["dax", "toma"])
    write_concepts(tmp_path / "mine.safetensors", ["dax"], torch.ones(1, WIDTH), "by hand")
    mine = system(concepts=str(tmp_path / "mine.safetensors"))
    assert torch.equal(mine.embed_classes(["Dax"]), torch.ones(1, WIDTH))
    with pytest.raises(ValueError, match=rf"mine.safetensors of 1 of 2 classes \('toma'\): .*{how}"):
        mine.embed_classes(["dax", "toma"])


def test_the_official_file_is_read_by_data_sets(tmp_path: Path) -> None:
    rows = torch.arange(3088.0)[:, None].expand(-1, WIDTH).clone()
    torch.save(rows, tmp_path / "official.pth")
    official = system(concepts=str(tmp_path / "official.pth"))
    names = [f"class {n}" for n in range(25)]
    assert official.embed_classes(names, "ovis")[:, 0].tolist() == list(range(2243, 2268))
    for wrong, data, message in (
        (names, None, "no embeddings in .*official.pth .*these are of the data sets imagenet"),
        (names[:3], "ovis", "has 25 classes of ovis and 3 are asked for"),
        (["wall"] * 206, "entityseg_instance", "ends at row 3088, before those of entityseg_instance"),
    ):
        with pytest.raises(ValueError, match=message):
            official.embed_classes(wrong, data)


def test_every_data_set_with_classes_has_rows_under_its_own_name() -> None:
    """Tests and stages ask for them by the name of the benchmark."""
    known = [name for name in names("vis", "vss", "vps", "pvos") if not name.startswith("synthetic")]
    assert len(known) > 5 and all(slice_of(name).stop <= 3938 for name in known)


def test_files_that_are_no_class_embeddings_are_refused(tmp_path: Path) -> None:
    torch.save(torch.full((2, 3), torch.nan), tmp_path / "nan.pth")
    torch.save({"model": torch.ones(2, 3)}, tmp_path / "dict.pth")
    for name, error, message in (
        ("nothing.pth", FileNotFoundError, "no class embeddings at system.concepts="),
        ("nan.pth", CheckpointError, "holds NaN"),
        ("dict.pth", CheckpointError, "expected one tensor with a row for each class"),
    ):
        with pytest.raises(error, match=message):
            read_concepts(tmp_path / name)
    torch.save(torch.ones(2, 3), tmp_path / "narrow.pth")
    with pytest.raises(ValueError, match="features of width 3, the model expects system.text_dim=64"):
        system(concepts=str(tmp_path / "narrow.pth"))


def test_folders_that_are_no_clip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder"):
        read_tower(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no CLIP tokenizer: put tokenizer.json, or vocab.json and merges.txt"):
        read_tower(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no weights of a CLIP text tower.*\(there: none\)"):
        read_tower(tmp_path)
    torch.save({"model": {"positional_embedding": torch.ones(77, WIDTH)}}, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match="half.pth is no CLIP text tower .*token_embedding.weight"):
        read_tower(tmp_path)
    with pytest.raises(ValueError, match="give it the tokenizer of its own vocabulary"):
        CLIPTextTower(clip_text(WIDTH, 1, 90), tokenizer())


def test_settings_that_do_not_fit_the_tower_are_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"freeze_text": False}, "system.text=clip does not learn"),
        ({"text": "none", "text_weights": "here"}, "system.text_weights=here is for system.text=clip, not none"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(**changes).check()
    with pytest.raises(ValueError, match="system.text=clip has features of width 64, the model expects .*text_dim=32"):
        build_system(settings(text_dim=32, text_weights=str(clip_folder(tmp_path, "official"))))


def test_the_weights_of_a_system_are_without_the_tower_and_a_saved_model_is_whole(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "clip", "official")
    given = settings(text_weights=str(folder))
    built = build_system(given)
    assert not [name for name in built.state_dict() if name.startswith("text.")]
    assert not any(p.requires_grad for p in built.text.clip.parameters())  # type: ignore[union-attr, operator]
    Model(built.eval(), settings=given, rule=find_system("univs").rule_of(built)).save_pretrained(tmp_path / "saved")
    (folder / "text.pth").unlink()
    again = load(tmp_path / "saved").system
    assert isinstance(again, UniVS) and again.text is not None
    assert torch.equal(again.text(["a dax"])[1], built.text(["a dax"])[1])  # type: ignore[misc, operator]


def test_a_text_that_is_too_long_is_cut_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="has 9[0-9] tokens and CLIP reads 75, its end is cut: 'a bad photo of a"):
        CLIPTextTower(tower(), tokenizer(), TEMPLATES[2:3])(["x" * 80])


def test_words_of_our_own_files_are_stored_as_they_were_given(tmp_path: Path) -> None:
    write_concepts(tmp_path / "a.safetensors", ["b", "a"], torch.eye(2), "x")
    found = read_concepts(tmp_path / "a.safetensors")
    assert isinstance(found, Concepts) and found.words == ("b", "a")
    assert json.dumps(found.of(["a"]).tolist()) == "[[0.0, 1.0]]"
