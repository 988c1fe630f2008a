"""Off the CPU no training step reads from its device, which would make the host wait in every step.

Tensors on torch's device "meta" have no values, so whatever reads one raises there."""

import pytest
import torch

from carat.batch import Batch
from carat.system import Network, kinds, recipe, system

WIDTHS, LABELS = {"t": 5, "v": 4, "a": 3}, ("happy", "sad", "anger")
SIZES = dict(d=16, ff=16, d_z=8, d_h=8, heads=2, layers=(1, 1, 1), queue=32)  # of CARAT
NETWORKS = [k for k in kinds() if k != "aligned" and issubclass(system(k), Network)]


def network(kind, preset):
    cls = system(kind)
    _, fields, _ = recipe(cls, preset)
    fields = {**fields, **(SIZES if kind == "carat" else {})}
    return cls(cls.Config(**{**fields, "modalities": WIDTHS, "labels": LABELS})).to("meta")


def batch():
    mask = torch.ones(4, 6, dtype=torch.bool)
    x = {m: torch.zeros(4, 6, d) for m, d in WIDTHS.items()}
    y = torch.ones(4, len(LABELS))
    return Batch(x, {m: mask for m in WIDTHS}, y, list("abcd")).to("meta")


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    "Mixed precision that takes the device meta for one that has it."

    class Autocast(torch.autocast):
        def __init__(self, device_type, *args, **kw):
            super().__init__("cpu", *args, **kw)

    monkeypatch.setattr(torch, "autocast", Autocast)


def step(kind, preset):
    model, b = network(kind, preset), batch()
    with torch.autocast("meta", torch.bfloat16):
        losses = model.losses(b)
    model.backward(losses, b)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_step_reads_nothing(kind, as_on_a_gpu):
    step(kind, "recommended" if kind == "carat" else "small")


def test_carat_as_printed_and_as_published_read_nothing(as_on_a_gpu):
    step("carat", "paper")
    step("carat", "reference")


@pytest.mark.parametrize("read", (torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.nonzero))
def test_a_read_would_be_noticed(read):
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(torch.zeros(1, device="meta"))


def test_a_choice_by_a_mask_would_be_noticed():
    x = torch.zeros(3, device="meta")
    with pytest.raises((RuntimeError, NotImplementedError)):
        x[x > 0]
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(x.any())
