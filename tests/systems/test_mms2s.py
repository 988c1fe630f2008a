"What a run of MMS2S keeps, and that its modalities need no common clock."

import torch

from carat.batch import Batch
from carat.system import make_model
from carat.systems.sgm import label_order
from carat.train import TrainConfig, fit, load_run
from carat.train.checks import few_clips


def test_a_run_keeps_the_order_of_its_labels(tmp_path):
    store = few_clips(16)
    model = make_model("mms2s", store, preset="small", d=8)
    how = TrainConfig.preset("mms2s", "small", epochs=1, device="cpu")
    fit(model, store, how, out=tmp_path / "run", progress=False)
    expected = label_order((torch.as_tensor(store["train"].y) > 0).sum(0))
    assert expected.tolist() != list(range(6))
    assert load_run(tmp_path / "run", device="cpu").model.order.tolist() == expected.tolist()


def test_modalities_may_differ_in_their_steps():
    store = few_clips(4)
    model = make_model("mms2s", store, preset="small", d=8).eval()
    batch = store["train"].batch(range(4))
    x, mask = dict(batch.x), dict(batch.mask)
    x["v"], mask["v"] = (v.repeat_interleave(3, 1) for v in (x["v"], mask["v"]))
    loose = Batch(x, mask, batch.y, batch.id)
    assert model.predict(loose).scores.isfinite().all()
    assert model.losses(loose)["loss"].isfinite()
