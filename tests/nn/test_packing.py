"Packing and the attention of training on a CPU: what their chapter does not test."

import pytest
import torch

from carat.nn.packing import Packing, dot_product_attention, dropout


@pytest.mark.parametrize("width", [1, 7, 16])
@pytest.mark.parametrize("most", [1, 40, 1024])
def test_groups_are_no_larger_than_they_may_be(width, most):
    torch.manual_seed(0)
    mask = torch.rand(30, 20) < torch.rand(30, 1)
    groups = Packing(mask, width, most).groups
    assert sum(int(keys.sum()) for keys in groups) == mask.sum()
    for keys in groups:
        lengths = keys.sum(1)
        assert keys.numel() <= most or len(keys) == 1
        assert keys.shape[1] - lengths.min() < width  # little padding within a group
        assert keys.shape[1] <= 20


def test_a_batch_without_steps_packs_into_no_rows():
    packing = Packing(torch.zeros(3, 4, dtype=torch.bool))
    rows = packing.pack(torch.randn(3, 4, 2))
    assert rows.shape == (0, 2) and not packing.groups
    assert torch.equal(packing.unpack(rows), torch.zeros(3, 4, 2))


def test_dropout_with_probability_0_returns_its_input():
    x = torch.randn(3)
    assert dropout(x, 0.0) is x


@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_dropout_of_a_size_that_is_no_multiple_of_four(size):
    torch.manual_seed(0)
    kept = torch.stack([dropout(torch.ones(size), 0.5) for _ in range(400)])
    assert kept.unique().tolist() == [0, 2]
    assert (kept.mean(0) - 1).abs().max() < 0.25  # five standard errors


def test_dropped_attention_has_the_mean_of_attention():
    torch.manual_seed(0)
    qkv, keys = torch.randn(3, 1, 2, 5, 4), torch.tensor([[True, True, True, False, True]])
    many = qkv.expand(3, 4000, 2, 5, 4), keys.expand(4000, 5)
    dropped, whole = dot_product_attention(*many, 0.3), dot_product_attention(qkv, keys)[0]
    error = dropped.std(0) / 4000**0.5
    assert ((dropped.mean(0) - whole).abs() < 6 * error).all()
