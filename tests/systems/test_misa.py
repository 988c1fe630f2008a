"The recorded step of the published code, two processes that share a batch, and missing modalities."

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from recorded import recorded_case

from carat.distributed import average_gradients
from carat.study.runner import processes
from carat.system import make_model
from carat.systems.misa import MISA, differences, replay, similarities, standardised
from carat.train import TrainConfig
from carat.train.checks import check_network, few_clips
from carat.train.optim import make_optimizer, set_rates


@pytest.fixture(scope="module")
def case():
    return recorded_case("misa")


def test_the_recorded_step_is_replayed(case):
    found = replay(case)
    given = ("x/", "setting/", "weight/", "adversarial/weight/", "lengths", "mask", "y")
    assert set(found) == {k for k in case if not k.startswith(given)}
    gaps = {k: np.abs(v - case[k]).max() for k, v in found.items()}
    assert not {k: g for k, g in gaps.items() if not g < 1e-9}


def test_the_presets_optimiser_takes_the_recorded_step(case):
    how = TrainConfig.preset(MISA, "reference")
    names = [k[5:] for k in case if k.startswith("grad/")]
    p = {k: torch.nn.Parameter(torch.from_numpy(case[f"weight/{k}"].copy())) for k in names}
    model = torch.nn.ParameterDict({k.replace(".", "_"): v for k, v in p.items()})
    for k, v in p.items():
        v.grad = torch.from_numpy(case[f"grad/{k}"].copy())
    optimizer = make_optimizer(model, how)
    set_rates(optimizer, how, 0, 100)
    torch.nn.utils.clip_grad_value_(p.values(), how.clip)
    optimizer.step()
    for k, v in p.items():
        np.testing.assert_allclose(v.detach().numpy(), case[f"after/{k}"], atol=1e-9)


def small(**options):
    options = dict(dropout=0.0, dropout_fusion=0.0) | options
    return make_model("misa", few_clips(7), preset="small", **options)


def lacking_batch():
    "Seven clips, of which one lacks the text and one everything."
    batch = few_clips(7)["train"].batch(range(7))
    for m in batch.modalities:
        batch.mask[m][5] = False
    batch.mask["t"][2] = False
    return batch


def gradients(model):
    return {k: p.grad.clone() for k, p in model.named_parameters()}


KINDS = ("cmd", "adversarial")


def _one_of_two(rank, place, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    whole, rows, found = lacking_batch(), list(range(rank, 7, 2)), []
    x, mask = ({m: v[rows] for m, v in part.items()} for part in (whole.x, whole.mask))
    ids = [whole.id[i] for i in rows]
    mine = replace(whole, x=x, mask=mask, y=whole.y[rows], id=ids, total=7)
    for similarity in KINDS:
        model = small(similarity=similarity)
        losses = model.losses(mine)
        losses["loss"].backward()
        average_gradients(model.parameters())
        found.append((losses["loss"].item(), gradients(model)))
    torch.save(found, f"{out}-{rank}")
    dist.destroy_process_group()


def test_two_processes_compute_the_gradient_of_one(tmp_path):
    given = tmp_path / "meet", tmp_path / "out"
    mp.start_processes(_one_of_two, given, 2, start_method=processes().get_start_method())
    found = [torch.load(tmp_path / f"out-{rank}") for rank in range(2)]
    for i, similarity in enumerate(KINDS):
        model = small(similarity=similarity)
        loss = model.losses(lacking_batch())["loss"]
        loss.backward()
        for value, grads in (rank[i] for rank in found):
            assert abs(value - loss.item()) < 1e-5
            for name, grad in gradients(model).items():
                torch.testing.assert_close(grads[name], grad, rtol=1e-3, atol=1e-6)


def test_terms_with_missing_samples_are_those_of_the_samples_that_have_them():
    torch.manual_seed(0)
    private, shared = torch.rand(2, 8, 3, 4).double()
    present = torch.rand(8, 3) < 0.6
    both = present[:, 0] & present[:, 1]
    some = differences(private[both][:, :2], shared[both][:, :2], present[both][:, :2])
    found = differences(private, shared, present)
    torch.testing.assert_close(found[0, 1], some[0, 1])
    spoiled = torch.where(present[..., None], shared, torch.nan)
    for pair, value in similarities(shared, present).items():
        torch.testing.assert_close(similarities(spoiled, present)[pair], value)
        torch.testing.assert_close(differences(private, spoiled, present)[0, 0], found[0, 0])


def test_one_modality_has_no_similarity():
    store = few_clips(6)
    model = make_model("misa", store, preset="small", modalities=["v"])
    losses = model.losses(store["train"].batch(range(6)))
    assert losses["similarity"] == 0 and losses["difference"] > 0


def test_standardised_channels_do_not_depend_on_padding():
    torch.manual_seed(0)
    x, mask = torch.randn(2, 5, 3), torch.arange(5) < torch.tensor([5, 3])[:, None]
    x[:, :, 2] = 7
    out = standardised(x, mask)
    one = x[1, :3]
    expected = (one - one.mean(0)) / one.std(0, correction=0)
    torch.testing.assert_close(out[1, :3, :2], expected[:, :2])
    assert not out[..., 2].any() and not out[1, 3:].any()


def test_the_paper_preset_passes_the_checks_of_every_network():
    check_network("misa", preset="paper")
