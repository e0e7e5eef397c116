"""Queries that are taken from the encoded image: the two-stage scheme of Deformable DETR, with learned content.

Zhu et al., Deformable DETR, ICLR 2021, section 4.2 and appendix A.4; the "mixed selection" of places from the image and
content from a learned table is that of DINO (Zhang et al., ICLR 2023, section 3.4).
Legend: n frames, s tokens of all levels, Q queries, C channels, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fewshot.nn.mlp import MLP
from fewshot.nn.positions import sine_box
from fewshot.nn.queries import Encoded, Proposals, QueryScheme, Start

BOX_SIDE = 0.05  # of the frame, for tokens of the finest level; twice as large on each coarser one
MARGIN = 0.01  # boxes nearer than this to 0 or 1 on any coordinate are not proposed


class ProposalQueries(QueryScheme):
    """The `num_queries` tokens with the highest objectness become queries.

    Places and reference boxes come from the tokens' boxes, cut off from the gradient; the content is learned and bound
    to the rank: the best proposal always gets the first row.
    """

    small_boxes = False

    def __init__(self, num_queries: int, dim: int, num_classes: int = 1) -> None:
        super().__init__()
        self.content = nn.Embedding(num_queries, dim)
        self.token, self.token_norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.place, self.place_norm = nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim)
        self.score_head = score_head(dim, num_classes)
        self.box_head = MLP(dim, dim, dim, 4)
        for linear in (self.token, self.place):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.box_head.linears[-1].weight)
        nn.init.zeros_(self.box_head.linears[-1].bias)

    def start(self, sentence: Tensor | None, encoded: Encoded | None = None) -> Start:
        """Content, boxes `(n, Q, 4)`, places and proposals from the encoded tokens; a sentence has no effect.

        Raises:
            ValueError: there are fewer tokens than queries.
        """
        if encoded is None:
            raise ValueError("proposals are taken from the encoded image, and there is none")
        proposals = self.propose(encoded)
        index = proposals.chosen[..., None].expand(-1, -1, 4)
        references = proposals.boxes.gather(1, index).detach().sigmoid()
        content = self.content.weight.expand(len(references), -1, -1)
        places = self.place_norm(self.place(sine_box(references, content.shape[-1] // 2, y_first=False)))
        return Start(content, references, places[..., : content.shape[-1]], proposals)

    def propose(self, encoded: Encoded) -> Proposals:
        """A class logit and a box for every token, and the best `num_queries` of them."""
        count, found = self.content.num_embeddings, encoded.tokens.shape[1]
        if found < count:
            raise ValueError(
                f"{count} queries are chosen from the tokens of a frame, and this one has {found}: use larger frames "
                f"(height times width of about {48 * count} pixels or more) or fewer queries"
            )
        boxes, usable = token_boxes(encoded)
        tokens = self.token_norm(self.token(encoded.tokens.masked_fill(~usable[..., None], 0.0)))
        logits = self.score_head(tokens).float()
        return Proposals(logits, self.box_head(tokens).float() + boxes, logits[..., 0].topk(count).indices)


def score_head(dim: int, num_classes: int) -> nn.Linear:
    """A linear layer to class logits that starts at a probability of about 0.01."""
    head = nn.Linear(dim, num_classes)
    nn.init.constant_(head.bias, -math.log(99.0))
    return head


def token_boxes(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """A box around every token: logits of cx, cy, w, h `(n, s, 4)`, +inf where unusable, and usable `(n, s)` bool.

    Centres are fractions of the unpadded frame. Padded tokens, and boxes near 0 or 1 on any coordinate, are unusable.
    """
    boxes = []
    for level, (h, w) in enumerate(encoded.shapes):
        wide, high = ((encoded.ratios[:, level, i] * side).round() for i, side in enumerate((w, h)))
        x = (torch.arange(w, device=wide.device) + 0.5) / wide[:, None]
        y = (torch.arange(h, device=high.device) + 0.5) / high[:, None]
        centres = torch.stack([x[:, None].expand(-1, h, -1), y[..., None].expand(-1, -1, w)], -1).flatten(1, 2)
        boxes.append(torch.cat([centres, torch.full_like(centres, BOX_SIDE * 2**level)], -1))
    fractions = torch.cat(boxes, 1)
    usable = ((fractions > MARGIN) & (fractions < 1 - MARGIN)).all(-1) & ~encoded.padding
    logits = torch.log(fractions / (1 - fractions))
    return logits.masked_fill(~usable[..., None], math.inf), usable
