"Prototypes: what their chapter leaves open."

import torch

from carat.nn.prototypes import Prototypes, hard_intrinsic, soft_intrinsic


def test_update_normalises_unless_told_otherwise():
    torch.manual_seed(0)
    Z, y, everyone = torch.randn(6, 2, 3, 4), torch.ones(6, 3), torch.ones(6, 2, dtype=torch.bool)
    paper, published = Prototypes(2, 3, 4), Prototypes(2, 3, 4)
    paper.update(Z, y, everyone)
    published.update(Z, y, everyone, normalise=False)
    assert torch.allclose(paper.mu[:, :, 0].norm(dim=-1), torch.ones(2, 3))
    assert published.mu[:, :, 0].norm(dim=-1).max() < 0.1  # six samples at a momentum of 0.99


def test_intrinsic_vectors_send_no_gradient_to_the_prototypes():
    "They are statistics, not parameters, whichever way they are read."
    torch.manual_seed(0)
    Z = torch.randn(5, 2, 3, 4, requires_grad=True)
    mu = torch.randn(2, 3, 2, 4, requires_grad=True)
    for intrinsic in (soft_intrinsic, hard_intrinsic):
        D, alpha = intrinsic(Z, mu)
        loss = D.sum() + alpha.square().sum()
        to_Z, to_mu = torch.autograd.grad(loss, (Z, mu), allow_unused=True)
        assert to_mu is None and to_Z.abs().sum() > 0


def test_prototypes_are_read_softly_in_training_and_hard_in_evaluation():
    torch.manual_seed(0)
    Z, prototypes = torch.randn(5, 2, 3, 4), Prototypes(2, 3, 4)
    prototypes.mu.copy_(torch.randn(2, 3, 2, 4))
    soft, hard = (f(Z, prototypes.mu)[0] for f in (soft_intrinsic, hard_intrinsic))
    for training, default in ((True, soft), (False, hard)):
        prototypes.train(training)
        assert torch.equal(prototypes(Z), default)
        assert torch.equal(prototypes(Z, hard=True), hard)
        assert torch.equal(prototypes(Z, hard=False), soft)
