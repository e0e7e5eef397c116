"""Cross-modal affinity: fused attention, its start as similarity, variants, memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fewshot.nn.affinity import CrossModalAffinity, attend, frame_by_frame, signed_log_power


def test_attend_is_the_softmax_of_the_products() -> None:
    q, k, v = torch.randn(2, 7, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    weights = (q @ k.transpose(1, 2) / 4).softmax(-1)
    torch.testing.assert_close(attend(q, k, v), weights @ v, rtol=1e-5, atol=1e-5)


def test_the_curve_is_odd_and_rises() -> None:
    x = torch.arange(-50, 51) / 10
    y = signed_log_power(x)
    torch.testing.assert_close(y, -y.flip(0))
    assert (y.diff() > 0).all() and y[50] == 0.0


def test_only_the_middle_frame_of_the_query_is_looked_at() -> None:
    block = CrossModalAffinity(16, 0.0).eval()
    query, support = torch.randn(1, 3, 16, 4, 5), torch.randn(1, 1, 1, 16, 4, 5)
    changed = query.clone()
    changed[:, 2] += 1.0
    with torch.no_grad():
        out, other = block(query, support), block(changed, support)
    torch.testing.assert_close(out[:, :2], other[:, :2])
    assert not torch.allclose(out[:, 2], other[:, 2])


def test_starts_as_similarity() -> None:
    """A place finds the support place with its own feature, and brings back that place's value."""
    torch.manual_seed(0)
    block = CrossModalAffinity(32, 0.0, initialisation="similarity").eval()
    feature = 40 * torch.randn(32, 2, 3)
    query, support = feature[None, None], feature.flip(1, 2)[None, None, None]
    with torch.no_grad():
        asking = block.query.query(query[0]).flatten(2)[0].T
        keys, values = (conv(support[0, 0]).flatten(2)[0].T for conv in (block.support.key, block.support.value))
        weights = (asking @ keys.T).softmax(-1)
        out = block(query, support)
    assert weights.argmax(-1).tolist() == [5, 4, 3, 2, 1, 0]
    assert asking[:, block.similar :].abs().max() == 0 and values[:, : block.similar].abs().max() == 0
    assert out.shape == query.shape
    assert block.query.key.weight[:, :, 0, 0].abs().max() == 0, "only the centre of the kernel is set"


def test_frames_of_support_and_query() -> None:
    support = torch.arange(6.0).view(1, 2, 3, 1, 1, 1)
    assert frame_by_frame(support, 5).flatten().tolist() == [1.5, 2.5, 3.5, 3.5, 3.5]
    assert frame_by_frame(support, 2).flatten().tolist() == [1.5, 2.5]


def test_unused_convolutions_are_frozen() -> None:
    trainable = {
        v: sum(p.requires_grad for p in CrossModalAffinity(16, 0.0, v).parameters()) for v in ("cma", "self", "base")
    }
    assert trainable == {"cma": 14, "self": 10, "base": 0}


MEASURE = """
import re, torch
from episodes.batch import ClipBatch, References
from fewshot.nn.text import TextEncoder, WordHashTokenizer, roberta
from fewshot.systems.cma.build import build_around
from fewshot.systems.cma.config import CMAConfig

def clip(frames, height=360, width=640):
    masks = torch.zeros(frames, height, width, dtype=torch.bool)
    masks[:, 50:200, 100:300] = True
    padding = torch.zeros(1, height, width, dtype=torch.bool)
    sizes = torch.tensor([[height, width]])
    return ClipBatch(torch.randn(1, frames, 3, height, width), padding, sizes, ("a brown bear",), (masks,))

model = build_around(CMAConfig(), TextEncoder(roberta(), WordHashTokenizer())).eval()
with torch.inference_mode():
    query = clip(10)
    prediction = model(query, model.encode_reference(References(clip(5), 1, query.expressions)))
assert prediction.masks.shape == (1, 10, 5, 90, 160)
# not ru_maxrss, which starts at the size of the process that started this one
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(int(peak.group(1)) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read as on Linux")
def test_ten_frames_of_360x640_fit_in_4_gb() -> None:
    """The full-size model with everything it loads, support and query."""
    # what a process can have, the cache of files included, which "free" memory leaves out
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    if available is not None and int(available.group(1)) < 6 * 2**20:
        pytest.skip("less than 6 GB of memory are available")
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 4.0
