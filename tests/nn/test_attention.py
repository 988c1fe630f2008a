"Label attention: what its chapter does not test."

import torch

from carat.nn.attention import LabelAttention, label_attention


def test_first_weights_are_small():
    torch.manual_seed(0)
    w = LabelAttention(50, 200).w.detach()
    assert abs(w.std().item() - 0.02) < 0.001 and abs(w.mean().item()) < 0.001
    assert torch.isclose(w.quantile(0.975), torch.tensor(1.96 * 0.02), rtol=0.05)  # normal


def test_attention_has_a_gradient():
    "A loss may be put on the attention itself."
    torch.manual_seed(0)
    H, w = torch.randn(2, 5, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    _, alpha = label_attention(H, w, mask)
    to_H, to_w = torch.autograd.grad(alpha.square().sum(), (H, w))
    assert to_w.abs().sum(1).min() > 0
    assert torch.equal(to_H.abs().sum(-1) > 0, mask)
