"Alignments where there is little to align, and in low precision."

import torch

from carat.nn.align import CTCAlign, even_align, left_justified, position_ctc


def test_a_batch_without_a_single_step():
    x, mask = torch.randn(3, 5, 4), torch.zeros(3, 5, dtype=torch.bool)
    module = CTCAlign(4, 6, hidden=3)
    aligned, log_p, length = module(x, mask)
    assert not aligned.any() and log_p.isfinite().all() and not length.any()
    nll, counts = position_ctc(log_p, length, torch.tensor([2, 0, 6]))
    assert not nll.any() and not counts.any()
    aligned.sum().backward()
    assert not even_align(x, mask, torch.ones(3, 6, dtype=torch.bool)).any()


def test_holes_close_up_in_order():
    x = torch.arange(1.0, 6.0).view(1, 5, 1)
    mask = torch.tensor([[False, True, False, True, True]])
    left, n = left_justified(x, mask)
    assert left.flatten().tolist() == [2, 4, 5, 0, 0] and n.tolist() == [3]


def test_low_precision_shares_are_computed_in_float32():
    torch.manual_seed(0)
    x, mask = torch.randn(2, 7, 4), torch.ones(2, 7, dtype=torch.bool)
    module = CTCAlign(4, 6, hidden=3)
    with torch.autocast("cpu", torch.bfloat16):
        aligned, log_p, _ = module(x, mask)
    assert log_p.dtype == torch.float32 and aligned.isfinite().all()
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(2, 7))
    torch.testing.assert_close(log_p, module(x, mask)[1], atol=0.02, rtol=0)
