"""Re-identification: embeddings of one thing are alike in all frames, those of two things are not.

Li et al., 2024, section 3.5. Legend: R rows and their embeddings, S columns, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.systems.univs.draws import Draws

MOST_COLUMNS = 20  # that a row is compared with
OF_SOME = 0.75  # the fraction of them that are of a target of some row
MOST_OF_CLIPS, PARTNERS = 30, 3  # columns and partners where several clips are compared
HIGHEST = 10.0  # exponent, so that one pair does not drown the others


@dataclass(frozen=True)
class Entries:
    """Embeddings of things in frames, of all clips of a batch.

    Attributes:
        embeddings: `(R, C)`.
        ids: `(R,)` int64 number of the thing, at least 0.
        clips: `(R,)` int64 number of the clip: things of two clips are never the same.
    """

    embeddings: Tensor
    ids: Tensor
    clips: Tensor

    def alike(self, other: Entries) -> Tensor:
        """Whether a row and a row of `other` are of the same thing: `(R, S)` bool."""
        return (self.ids[:, None] == other.ids) & (self.clips[:, None] == other.clips)

    @classmethod
    def none(cls, like: Tensor) -> Entries:
        """No rows, of embeddings `(..., C)`."""
        empty = torch.zeros(0, dtype=torch.int64, device=like.device)
        return cls(like.new_zeros(0, like.shape[-1]), empty, empty)

    @classmethod
    def joined(cls, parts: list[Entries]) -> Entries:
        """The rows of several, one after the other."""
        return cls(*(torch.cat([getattr(x, name) for x in parts]) for name in ("embeddings", "ids", "clips")))


def contrast(rows: Entries, columns: Entries, draws: Draws) -> tuple[Tensor, Tensor] | None:
    """The contrastive loss and its companion on cosines; None where no row has a column of its own thing."""
    same = rows.alike(columns)
    kept = same.any(1)
    if not kept.any():
        return None
    same, own = same[kept], rows.embeddings[kept]
    scores = own @ columns.embeddings.T / own.shape[1] ** 0.5
    chosen = some_columns(same, draws)
    cosines = F.normalize(own, dim=-1) @ F.normalize(columns.embeddings, dim=-1).T
    chosen_again = some_columns(same, draws)
    return contrastive(scores, same, chosen), cosine_gap(cosines[:, chosen_again], same[:, chosen_again])


def contrast_of_clips(entries: Entries, draws: Draws) -> tuple[Tensor, Tensor] | None:
    """The same two losses of the first embedding of each thing with those of all clips; None without any."""
    alike = entries.alike(entries)
    first = (alike.int().argmax(1) == torch.arange(len(alike), device=alike.device)).nonzero()[:, 0]
    if not len(first):
        return None
    same, every = alike[first], entries.embeddings
    scores = every[first] @ every.T / every.shape[1] ** 0.5
    partners = torch.stack([own.nonzero()[:, 0][draws.some(PARTNERS, int(own.sum())).to(own.device)] for own in same])
    chosen = draws.order(len(every))[:MOST_OF_CLIPS].to(every.device)
    cosines = F.normalize(every[first], dim=-1) @ F.normalize(every, dim=-1).T
    again = draws.order(len(every))[:MOST_OF_CLIPS].to(every.device)
    gaps = log_gaps(scores[:, chosen], ~same[:, chosen], scores.gather(1, partners))
    return gaps, cosine_gap(cosines[:, again], same[:, again])


def some_columns(same: Tensor, draws: Draws) -> Tensor:
    """Indices of columns of `same` `(R, S)` to compare with, in order: most of them with a partner among the rows."""
    most = min(MOST_COLUMNS, 3 * len(same))
    paired = same.any(0)
    chosen = []
    for which, fraction in ((paired, OF_SOME), (~paired, 1 - OF_SOME)):
        index = which.nonzero()[:, 0]
        chosen.append(index[draws.order(len(index))[: int(fraction * most)].to(index.device)])
    return torch.cat(chosen).sort().values


def contrastive(scores: Tensor, same: Tensor, chosen: Tensor) -> Tensor:
    """Mean over rows of `ln(1 + sum exp(other - own))`, own being the first and the mean score of a row's own thing.

    Args:
        scores, same: `(R, S)`; every row has a column of its own thing.
        chosen: columns whose scores are compared.
    """
    rows = torch.arange(len(scores), device=scores.device)
    first = scores[rows, same.int().argmax(1)]
    mean = (scores * same).sum(1) / same.sum(1)
    return log_gaps(scores[:, chosen], ~same[:, chosen], torch.stack([first, mean], 1))


def log_gaps(scores: Tensor, apart: Tensor, own: Tensor) -> Tensor:
    """Mean over rows of `ln(1 + sum exp(other - own))`, over scores `(R, S)` of what is `apart` and `own` `(R, J)`."""
    gaps = (scores[:, :, None] - own[:, None]).clamp(max=HIGHEST).exp() * apart[..., None]
    return gaps.sum((1, 2)).log1p().mean()


def cosine_gap(cosines: Tensor, same: Tensor) -> Tensor:
    """Smooth L1 of cosines `(R, S)`, at least 0, to whether the two are the same; summed over columns, mean of rows."""
    gaps = F.smooth_l1_loss(cosines.clamp(min=0), same.to(cosines.dtype), reduction="none")
    return gaps.sum(1).mean()
