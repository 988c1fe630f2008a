"CARAT's configurations, and the model where something is missing or switched off."

import copy
from dataclasses import asdict
from fnmatch import fnmatch

import pytest
import torch

from carat.batch import Batch
from carat.core import CaratError
from carat.nn.prototypes import update_prototypes
from carat.nn.shuffle import aggregation_loss
from carat.systems.carat import CARAT, TABLE_3, CaratConfig

WIDTHS = {"t": 6, "v": 5, "a": 4}
LABELS = ("joy", "fear", "anger", "doubt")
SMALL = dict(
    modalities=WIDTHS,
    labels=LABELS,
    layers=(1, 1, 1),
    d=16,
    d_z=6,
    d_h=8,
    heads=2,
    ff=16,
    dropout=0.0,
    queue=512,
    max_steps=7,
)
B, T, M, C = 8, 7, 3, 4


def made(**changes):
    "A small model in training mode, its weights fixed."
    torch.manual_seed(0)
    return CARAT(CaratConfig(**{**SMALL, **changes})).double().train()


def drawn(seed=0, missing=False):
    "A batch; with `missing`, sample i lacks modality i for the first three samples."
    g = torch.Generator().manual_seed(seed)
    x = {m: torch.randn(B, T, w, generator=g, dtype=torch.float64) for m, w in WIDTHS.items()}
    steps = torch.randint(2, T + 1, (B, M), generator=g)
    mask = {m: torch.arange(T) < steps[:, i, None] for i, m in enumerate(WIDTHS)}
    for i, m in enumerate(WIDTHS if missing else ()):
        mask[m][i] = False
    y = (torch.rand(B, C, generator=g) < 0.4).double()
    return Batch(x, mask, y, [str(i) for i in range(B)])


def stayed():
    "Draws of a shuffle that moves nothing."
    samples = torch.arange(B).expand(C, M, B)
    modalities = torch.arange(M).expand(C, B, M)
    return samples, modalities


def difference(one, other):
    "The fields in which a configuration differs from another."
    ours, theirs = asdict(one), asdict(other)
    return {k: v for k, v in ours.items() if v != theirs[k]}


PAPER = dict(  # Implementation Details and Table 4; the rest where the paper is silent
    modalities={"t": 300, "v": 35, "a": 74},
    labels=("happy", "sad", "anger", "surprise", "disgust", "fear"),
    max_steps=60,
    layers=(6, 4, 4),
    d=256,
    d_z=64,
    d_h=128,
    heads=8,
    ff=256,
    dropout=0.3,
    input_norm=True,
    queue=8192,
    tau=0.07,
    phi=0.99,
    gamma_o=0.01,
    gamma_alpha=0.1,
    gamma_beta=1.0,
    gamma_s=1.0,
    gamma_r=1.0,
    gamma_sf=0.1,
    gamma_r_beta=0.0,
    latent=True,
    levels=("alpha", "beta"),
    mrm=True,
    agg="shuffle",
    shuffles=("sample", "modality"),
    rec_norm="frobenius",
    scl_reduction="sum",
    queue_init="empty",
    prototype_levels=("o", "alpha", "beta"),
    prototype_normalise=True,
    decode_normalised=True,
    shuffle_attached="source",
    init="layer",
    padding="masked",
)
PUBLISHED = dict(
    rec_norm="mse",
    scl_reduction="mean",
    queue_init="random",
    prototype_levels=("o",),
    prototype_normalise=False,
    decode_normalised=False,
    shuffle_attached="slot",
    init="xavier",
    padding="attended",
)
RECOMMENDED = dict(gamma_o=1.0, gamma_alpha=1.0, gamma_s=0.1, gamma_r=0.01)
BARE = dict(latent=False, levels=(), shuffles=(), agg="concat")
ABLATIONS = {  # Table 3, in the words of the paper
    1: BARE,
    2: {**BARE, "agg": "none"},
    3: {**BARE, "mrm": False},
    4: dict(gamma_s=0.0),
    5: dict(latent=False),
    6: dict(gamma_r=0.0),
    7: dict(levels=("beta",)),
    8: dict(levels=("alpha",)),
    9: dict(levels=()),
    10: dict(shuffles=("modality",)),
    11: dict(shuffles=("sample",)),
    12: dict(shuffles=()),
    13: {},
}


def test_the_defaults_are_the_paper():
    assert asdict(CaratConfig()) == PAPER


def test_what_the_published_code_changes():
    assert difference(CaratConfig.reference(), CaratConfig()) == PUBLISHED


def test_what_the_book_recommends():
    set_back = ("init", "padding")
    published_steps = {k: v for k, v in PUBLISHED.items() if k not in set_back}
    expected = {**published_steps, **RECOMMENDED}
    assert difference(CaratConfig.recommended(), CaratConfig()) == expected


def test_presets_are_these_configurations():
    made_from = {name: CaratConfig(**values) for name, (values, _) in CARAT.recipes.items()}
    assert made_from == {
        "recommended": CaratConfig.recommended(),
        "lean": CaratConfig.lean(),
        "paper": CaratConfig(),
        "reference": CaratConfig.reference(),
    }


@pytest.mark.parametrize("row", range(1, 14))
def test_a_row_of_table_3_changes_what_it_says(row):
    assert difference(CaratConfig.variant(row), CaratConfig()) == ABLATIONS[row]
    assert len(TABLE_3) == len(ABLATIONS)


def test_without_one_level_the_other_is_computed_from_what_there_is():
    batch = drawn()
    first, second = made(levels=("alpha",)), made(levels=("beta",))
    one, two = first(batch), second(batch)
    assert set(one.U) == {"o", "tilde", "alpha"} and set(two.U) == {"o", "tilde", "beta"}
    torch.testing.assert_close(two.U["beta"], second.f.beta(two.U["tilde"]))
    assert first.config.deepest == "alpha" and second.config.deepest == "beta"


def test_a_configuration_has_its_own_modalities():
    given = dict(WIDTHS)
    config = CaratConfig(**{**SMALL, "modalities": given})
    given["v"] = 99
    assert config.modalities == WIDTHS
    CaratConfig().modalities["t"] = 1
    assert CaratConfig().modalities == PAPER["modalities"]


def test_levels_without_prototypes_are_refused():
    for wrong in (dict(prototype_levels=()), dict(prototype_levels=("beta",), levels=("alpha",))):
        with pytest.raises(CaratError, match="prototype_levels"):
            CaratConfig(**SMALL, **wrong)
    CaratConfig(**SMALL, prototype_levels=(), latent=False)  # there are none to move


def test_state_moves_in_training_only():
    model = made()
    model.losses(drawn(1))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval().losses(drawn(2))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.train().losses(drawn(2))
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"prototypes.mu", "queue.rows", "queue.cls", "queue.pointer"}


def test_missing_modalities_count_in_neither_term_of_eq_14():
    losses = made().losses(drawn(missing=True), stayed())
    torch.testing.assert_close(losses["shuffled"], losses["agg"])


def test_a_missing_modality_is_zero_at_every_level():
    batch = drawn(missing=True)
    for agg in ("shuffle", "concat"):
        out = made(agg=agg)(batch)
        for level in ("tilde", "alpha", "beta"):
            assert not out.U[level][~batch.present].any(), level
            assert out.U[level][batch.present].any(-1).all(), level


def test_a_modality_whose_first_step_is_missing_is_there():
    batch = drawn()
    batch.mask["v"][:, 0] = False
    batch.mask["v"][:, 1] = True
    out = made()(batch)
    assert out.present.all() and out.U["beta"].any(-1).all()
    batch.mask["v"][:, 1:] = False
    assert not made()(batch).present[:, 1].any()


def test_a_batch_without_labels_has_scores_and_no_loss():
    batch = drawn()
    model = made().eval()
    unlabelled = Batch(batch.x, batch.mask, None, batch.id)
    torch.testing.assert_close(model.predict(unlabelled).scores, model.predict(batch).scores)
    with pytest.raises(CaratError, match="no labels"):
        model.losses(unlabelled)


def test_without_max_pooling_no_modality_wins():
    said = made(mrm=False).predict(drawn())
    assert (said.more["from"] == -1).all() and (said.scores > 0).all()


def test_without_contrast_there_is_no_queue():
    model = made(gamma_s=0.0)
    assert "scl" not in model.losses(drawn())
    assert not [k for k in model.state_dict() if k.startswith("queue")]
    assert hasattr(made(), "queue")


@pytest.mark.parametrize("normalised", [True, False])
def test_the_decoder_reads_what_the_configuration_says(normalised):
    model, batch = made(decode_normalised=normalised), drawn()
    out = model(batch)
    raw, z_o = model.embed(out.U["o"])
    torch.testing.assert_close(out.U["tilde"], model.De(z_o if normalised else raw))


def test_prediction_does_not_choose_the_mode():
    "`predict` computes in the mode that the model is in; predict_split switches dropout off."
    batch, model = drawn(), made(dropout=0.5)
    assert not torch.equal(model.predict(batch).scores, model.predict(batch).scores)
    assert model.training
    model.eval()
    assert torch.equal(model.predict(batch).scores, model.predict(batch).scores)


@pytest.mark.parametrize("kinds", [("sample",), ("modality",), ("sample", "modality")])
def test_only_the_shuffles_of_the_configuration_take_place(kinds, monkeypatch):
    drawn_by_model = []

    def noted(h_c, V, y, present, draws, *rest):
        drawn_by_model.append(draws)
        return aggregation_loss(h_c, V, y, present, draws, *rest)

    monkeypatch.setattr("carat.systems.carat.aggregation_loss", noted)
    made(shuffles=kinds).losses(drawn())
    moved = [not torch.equal(a, b) for a, b in zip(drawn_by_model[0], stayed(), strict=True)]
    assert moved == ["sample" in kinds, "modality" in kinds]


@pytest.mark.parametrize("levels", [("o",), ("alpha", "beta"), ("o", "alpha", "beta")])
def test_prototypes_move_by_the_levels_of_the_configuration(levels):
    "Samples one after another, and the levels of a sample one after another."
    batch, model = drawn(missing=True), made(prototype_levels=levels)
    model.losses(drawn(1))
    mu, out = model.prototypes.mu.clone(), model(batch)
    Z = {k: model.embed(out.U[k])[1] for k in ("o", "alpha", "beta")}
    for i in range(B):
        for k in levels:
            one = slice(i, i + 1)
            mu = update_prototypes(mu, Z[k][one], batch.y[one], batch.present[one], 0.99)
    model.losses(batch)
    torch.testing.assert_close(model.prototypes.mu, mu)


def xavier(fan_in, fan_out):
    "The standard deviation of Xavier's distribution."
    return (2 / (fan_in + fan_out)) ** 0.5


def linear(fan_in):
    "The standard deviation of `nn.Linear`'s uniform distribution, and of its biases."
    return (3 * fan_in) ** -0.5


C_, QUEUE = 6, 8192  # with widths 256, 64 and 128, and three modalities
PUBLISHED_SPREAD = {  # parameter or buffer -> mean, standard deviation in the published code
    "encoders.*norm*.weight": (1, 0),
    "encoders.*norm*.bias": (0, 0),
    "encoders.*.bias": (0, 0),
    "encoders.*.weight": (0, 0.02),
    "attention.*.w": (0, xavier(256, C_)),
    "En.lin1.weight": (0, xavier(256, 128)),
    "En.lin1.bias": (0, linear(256)),
    "En.lin2.weight": (0, xavier(128, 64)),
    "En.lin2.bias": (0, linear(128)),
    "De.lin1.weight": (0, xavier(64, 128)),
    "De.lin1.bias": (0, linear(64)),
    "De.lin2.weight": (0, xavier(128, 256)),
    "De.lin2.bias": (0, linear(128)),
    "f.f.weight": (0, xavier(768, 256)),
    "f.f.bias": (0, linear(768)),
    "h.weight": (0, linear(256)),
    "h_c.fc1.weight": (0, xavier(256 * C_, 256)),
    "h_c.fc1.bias": (0, linear(256 * C_)),
    "h_c.fc2.weight": (0, xavier(256, C_)),
    "h_c.fc2.bias": (0, linear(256)),
    "prototypes.mu": (0, 0),
    "queue.rows": (0, QUEUE**-0.5),
    "queue.cls": (-2, 0),  # matches nothing
    "queue.pointer": (0, 0),
}


def in_units_of_its_error(w, mean, spread):
    "How far a sample is from a mean and a standard deviation, in standard errors of each."
    w, n = w.double().flatten(), w.numel()
    if not spread:
        return 0.0 if (w == mean).all() else float("inf")
    m, s = w.mean() - mean, w.std() / spread - 1 if n > 1 else torch.zeros(())
    return max(abs(m.item()) / spread * n**0.5, abs(s.item()) * (2 * n) ** 0.5)


def strangers(config, spreads):
    "The parts of a new model that do not come from these distributions."
    torch.manual_seed(0)
    state, found = CARAT(config).state_dict(), set()
    for name, w in state.items():
        mean, spread = next(v for k, v in spreads.items() if fnmatch(name, k))
        if in_units_of_its_error(w, mean, spread) > 5:
            found.add(name)
    return found


def test_the_reference_is_drawn_from_the_published_distributions():
    assert not strangers(CaratConfig.reference(layers=(1, 1, 1)), PUBLISHED_SPREAD)


def test_each_layer_draws_its_own_weights_unless_told_otherwise():
    drawn = strangers(CaratConfig.reference(layers=(1, 1, 1), init="layer"), PUBLISHED_SPREAD)
    assert drawn == {
        *(f"attention.{m}.w" for m in "tva"),
        *(f"{net}.{lin}.weight" for net in ("En", "De") for lin in ("lin1", "lin2")),
        *("f.f.weight", "h_c.fc1.weight", "h_c.fc2.weight"),
    }


def test_a_variant_without_those_layers_can_be_drawn_from_xavier_too():
    for row in ABLATIONS:
        CARAT(CaratConfig.variant(row, CaratConfig.reference(**SMALL)))


def longer(batch, steps):
    "The batch with masked steps of noise behind it."
    x, mask = {}, {}
    for m, v in batch.x.items():
        noise = torch.randn(B, steps, v.shape[2], dtype=v.dtype)
        x[m] = torch.cat([v, noise], 1)
        mask[m] = torch.cat([batch.mask[m], torch.zeros(B, steps, dtype=torch.bool)], 1)
    return Batch(x, mask, batch.y, batch.id)


@pytest.mark.parametrize("padding", ["masked", "attended"])
def test_scores_do_not_depend_on_how_far_a_batch_was_padded(padding):
    model = made(max_steps=T + 4, padding=padding).eval()
    batch = drawn(missing=True)
    scores = model.predict(batch).scores
    torch.testing.assert_close(model.predict(longer(batch, 2)).scores, scores)
    torch.testing.assert_close(model.predict(longer(batch, 4)).scores, scores)


def test_attended_padding_is_read_as_zeros():
    batch = drawn()
    model, reads_masks = made(padding="attended"), made()
    zeros = {m: v * batch.mask[m][..., None] for m, v in batch.x.items()}
    ones = {m: torch.ones_like(v) for m, v in batch.mask.items()}
    whole = Batch(zeros, ones, batch.y, batch.id)
    torch.testing.assert_close(model(batch).U["o"], reads_masks(whole).U["o"])
    assert not torch.allclose(model(batch).U["o"], reads_masks(batch).U["o"])
    attention = model(batch).attention["t"]
    assert (attention > 0).all()


def test_a_missing_modality_is_missing_with_attended_padding_too():
    batch = drawn(missing=True)
    model = made(padding="attended").eval()
    assert torch.equal(model(batch).present, batch.present)
    scores, noisy = model.predict(batch).scores, copy.copy(batch)
    noisy.x = {m: v + 9.0 * ~batch.mask[m][..., None] for m, v in batch.x.items()}
    torch.testing.assert_close(model.predict(noisy).scores, scores)


def test_a_sequence_that_is_too_long_is_refused_with_attended_padding_too():
    with pytest.raises(CaratError, match="longer than the 5 positions"):
        made(padding="attended", max_steps=5)(drawn())


def test_aggregation_averages_over_the_modalities_that_are_there():
    model, batch = made(), drawn(missing=True)
    V = model(batch).U["beta"]
    p, losses = model.h_c(V).sigmoid(), model.losses(batch, stayed())  # p (B, M, C)
    y = batch.y[:, None].expand_as(p)
    each = -(y * p.log() + (1 - y) * (1 - p).log())
    by_hand = each[batch.present].mean()
    torch.testing.assert_close(losses["agg"], by_hand)
    torch.testing.assert_close(losses["shuffled"], by_hand)


@pytest.mark.parametrize("levels", [("alpha", "beta"), ("alpha",), ("beta",), ()])
def test_the_deepest_level_has_the_full_weight(levels):
    "A prediction is made from the deepest level, so its cross-entropy weighs gamma_beta."
    weights = dict(gamma_o=0.01, gamma_alpha=0.1, gamma_beta=1.0)
    losses = {
        b: made(levels=levels, **{**weights, "gamma_beta": b}).losses(drawn()) for b in (1, 2)
    }
    deepest = f"bce_{('o', *levels)[-1]}"
    torch.testing.assert_close(losses[2]["loss"] - losses[1]["loss"], losses[1][deepest])


def test_a_missing_modality_gets_no_attention_with_attended_padding():
    out = made(padding="attended")(drawn(missing=True))
    for i, m in enumerate(WIDTHS):
        assert not out.attention[m][i].any() and out.attention[m][i + 1 :].all()
