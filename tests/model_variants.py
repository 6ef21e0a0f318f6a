"""Settings of each model, besides its defaults, that every contract test runs over."""

VARIANTS = {
    "attention": [{"positions": "learned"}, {"positions": "none"}, {"causal": False}],
    "deltanet": [
        {"allow_neg_eigval": True, "expand_v": 2.0},
        {"use_short_conv": False, "use_beta": False, "expand_k": 0.5},
        {"qk_activation": "elu", "qk_norm": "sum"},
    ],
}
