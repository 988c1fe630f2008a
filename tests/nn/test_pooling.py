"Max-pooling and its loss: what the chapter does not test."

import math

import pytest
import torch

from carat.nn.pooling import ModalityHeads, bce, classification_loss, max_pool


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cross_entropy_of_few_valid_entries_is_their_mean(count):
    logits, y = torch.zeros(2, 3), torch.ones(2, 3)
    valid = torch.zeros(2, 3, dtype=torch.bool)
    valid.view(-1)[:count] = True
    assert bce(logits, y, valid).item() == pytest.approx(math.log(2))


def test_cross_entropy_of_nothing_is_0():
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert bce(torch.full((2, 3), torch.nan), torch.ones(2, 3), nothing) == 0


def test_first_weights_are_those_of_a_linear_layer_without_bias():
    torch.manual_seed(0)
    heads = ModalityHeads(3, 40, 64).weight.detach()
    linear = torch.stack([torch.nn.Linear(64, 40, bias=False).weight.detach() for _ in range(3)])
    assert heads.std().item() == pytest.approx(linear.std().item(), rel=0.03)
    assert heads.abs().max() <= 1 / 8 and heads.abs().max().item() == pytest.approx(1 / 8, rel=0.01)
    assert heads.std((1, 2)).numpy() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.05)


def test_each_level_of_equation_5_has_its_own_term():
    torch.manual_seed(0)
    y, valid = torch.ones(4, 2), torch.tensor([[True], [True], [False], [True]])
    s = {level: torch.randn(4, 2) for level in ("o", "beta")}
    terms = classification_loss(s, y, valid)
    assert list(terms) == ["o", "beta"]
    for level, logits in s.items():
        assert torch.equal(terms[level], bce(logits, y, valid))
    assert classification_loss({}, y) == {}


def test_missing_modality_does_not_beat_negative_logits():
    logits = torch.tensor([[[-3.0], [-1.0], [-2.0]]]).expand(3, 3, 1)
    present = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])
    s, leaned = max_pool(logits, present)
    assert s.flatten().tolist() == [-2, -1, 0]
    assert leaned.flatten().tolist() == [2, 1, -1]


def test_probabilities_have_the_winner_of_their_logits():
    torch.manual_seed(0)
    logits, present = torch.randn(50, 3, 4).double(), torch.rand(50, 3) < 0.6
    assert torch.equal(max_pool(logits, present)[1], max_pool(logits.sigmoid(), present)[1])


def test_a_confident_no_never_wins():
    "A logit of -10 is more certain than one of 1, and loses all the same."
    s, leaned = max_pool(torch.tensor([[[-10.0], [1.0]]]), torch.ones(1, 2, dtype=torch.bool))
    assert s.item() == 1 and leaned.item() == 1
