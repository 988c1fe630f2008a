"Reconstruction: what its chapter does not test."

import pytest
import torch

from carat.nn.reconstruction import reconstruction_loss


@pytest.mark.parametrize("kind", ["frobenius", "mse"])
def test_loss_of_a_batch_in_which_nobody_has_a_modality_is_0(kind):
    U_o = torch.randn(3, 2, 4, 5)
    other = torch.randn(3, 2, 4, 5, requires_grad=True)
    loss = reconstruction_loss(U_o, [other], torch.zeros(3, 2, dtype=torch.bool), kind)
    assert loss.tolist() == [0]
    (grad,) = torch.autograd.grad(loss.sum(), other)
    assert not grad.any()  # and no NaN


@pytest.mark.parametrize("kind", ["frobenius", "mse"])
def test_loss_of_one_sample_is_not_divided(kind):
    torch.manual_seed(0)
    U_o, other = torch.randn(2, 1, 4, 5), torch.randn(2, 1, 4, 5)
    one = torch.tensor([[True], [False]])
    gap = other[0] - U_o[0]
    expected = gap.norm() if kind == "frobenius" else gap.square().mean()
    assert torch.allclose(reconstruction_loss(U_o, [other], one, kind)[0], expected)
