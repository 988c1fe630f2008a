"What a GPU asks of a step, checked without one: no wait for the device, one compiled graph."

import contextlib
import copy

import pytest
import torch

from carat.batch import Batch
from carat.systems.carat import CARAT, CaratConfig
from carat.train import TrainConfig, make_optimizer

SMALL = dict(layers=(1, 1, 1), d=32, d_z=16, d_h=16, ff=32, heads=4, queue=256)
PRESETS = [CaratConfig, CaratConfig.reference, CaratConfig.recommended]


def some_batch(config, B=8, T=12):
    g = torch.Generator().manual_seed(0)
    x = {m: torch.randn(B, T, width, generator=g) for m, width in config.modalities.items()}
    mask = {
        m: torch.arange(T) < torch.randint(0, T + 1, (B, 1), generator=g) for m in x
    }  # some samples lack a modality
    return Batch(
        x,
        mask,
        (torch.rand(B, len(config.labels), generator=g) < 0.3).float(),
        [str(i) for i in range(B)],
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_no_step_waits_for_the_device(preset, monkeypatch):
    "Tensors of the device `meta` hold no numbers: what would read one, such as .item(), fails."
    monkeypatch.setattr(
        torch, "autocast", lambda *a, **k: contextlib.nullcontext()
    )  # which knows no such device
    config = preset(**SMALL)
    model, batch = CARAT(config).to("meta"), some_batch(config).to("meta")
    optimizer = make_optimizer(model, TrainConfig())
    for _ in range(2):
        optimizer.zero_grad()
        model.losses(batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        model.predict(batch)
    with pytest.raises((RuntimeError, NotImplementedError)):
        batch.y.sum().item()  # the check can fail
    with pytest.raises((RuntimeError, NotImplementedError)):
        batch.mask["t"].nonzero()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_compiled_step_is_one_graph_and_the_same_step(precision):
    torch._dynamo.reset()
    half = precision == "bfloat16"
    near = dict(rtol=1e-5, atol=1e-6) if precision == "float32" else dict(rtol=1e-3, atol=1e-3)
    config = CaratConfig.recommended(dropout=0.0, gamma_sf=0.0, **SMALL)  # nothing random
    torch.manual_seed(0)
    eager = CARAT(config)
    model, batch = copy.deepcopy(eager), some_batch(config)
    compiled = torch.compile(model.losses, fullgraph=True, dynamic=False, backend="aot_eager")
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            a, b = compiled(batch), eager.losses(batch)
        torch.testing.assert_close(a, b, **near)
        for out, net in ((a, model), (b, eager)):
            net.zero_grad()
            out["loss"].backward()
    near = (
        [dict(rtol=1e-4, atol=1e-6), dict(rtol=1e-5, atol=1e-6)]
        if precision == "float32"
        else [dict(rtol=2e-2, atol=2e-3)] * 2
    )
    theirs = dict(eager.named_parameters())
    for name, p in model.named_parameters():
        close(p.grad, theirs[name].grad, near[0], name)
    theirs = dict(eager.named_buffers())
    for name, p in model.named_buffers():
        close(p, theirs[name], near[1], name)


def close(a, b, near, name):
    torch.testing.assert_close(a, b, **near, msg=lambda m: f"{name}: {m}")
