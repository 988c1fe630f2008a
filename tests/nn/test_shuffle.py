"Shuffle and aggregation: what their chapter leaves open."

import torch

from carat.nn.shuffle import AggregationHead, aggregation_loss, draw_shuffle


def test_the_classifier_is_256_wide_by_default():
    h_c = AggregationHead(6, 32)
    assert (h_c.fc1.in_features, h_c.fc1.out_features, h_c.fc2.in_features) == (192, 256, 256)
    assert AggregationHead(6, 32, hidden=8).fc1.out_features == 8


def test_where_the_sample_permutation_is_attached_reaches_the_loss():
    torch.manual_seed(0)
    h_c, V, y = AggregationHead(4, 3), torch.randn(8, 3, 4, 3), (torch.rand(8, 4) < 0.4).float()
    present = torch.ones(8, 3, dtype=torch.bool)
    draws = draw_shuffle(present, 4)
    source, slot = (aggregation_loss(h_c, V, y, present, draws, a) for a in ("source", "slot"))
    assert torch.equal(source["agg"], slot["agg"])
    assert not torch.equal(source["shuffled"], slot["shuffled"])


def test_missing_modalities_take_no_part_in_either_term():
    torch.manual_seed(0)
    h_c, y = AggregationHead(4, 3), (torch.rand(8, 4) < 0.4).float()
    present = torch.rand(8, 3) < 0.6
    V = torch.randn(8, 3, 4, 3)
    draws = draw_shuffle(present, 4)
    other = torch.where(present[:, :, None, None], V, 1000.0)
    for attached in ("source", "slot"):
        terms = aggregation_loss(h_c, V, y, present, draws, attached)
        again = aggregation_loss(h_c, other, y, present, draws, attached)
        assert all(torch.equal(terms[k], again[k]) for k in ("agg", "shuffled"))
