"""What the parameters of UniVS start as, and which of them have no weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn


def without_decay(groups: list[dict[str, Any]], network: nn.Module) -> list[dict[str, Any]]:
    """Groups of which norms, embeddings and tables of positions are apart, without weight decay."""
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.Embedding)
    free = {
        id(p) for module in network.modules() if isinstance(module, kinds) for p in module.parameters(recurse=False)
    }
    free |= {id(p) for name, p in network.named_parameters() if "relative_position" in name or "level_embed" in name}
    apart = []
    for group in groups:
        own = [p for p in group["params"] if id(p) in free]
        apart.append({**group, "params": [p for p in group["params"] if id(p) not in free]})
        apart.append({**group, "params": own, "name": f"{group['name']} norms", "weight_decay": 0.0})
    return [group for group in apart if group["params"]]


def start_linears(part: nn.Module, narrow: bool) -> None:
    """Linear layers start without bias, and with narrow normal weights as in the released training, or Glorot's.

    Narrow ones shrink what passes, by 0.02 times the root of the width in each layer. In a network of width 64 the mask
    of a prompt, three layers behind it, is then the same whatever the prompt is, and so is its gradient.
    """
    for module in part.modules():
        if isinstance(module, nn.Linear):
            if narrow:
                nn.init.trunc_normal_(module.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
