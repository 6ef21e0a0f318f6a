"""Settings of each model, besides its defaults, that every contract test runs over."""

VARIANTS = {
    "attention": [{"positions": "learned"}, {"positions": "none"}, {"causal": False}],
    "deltanet": [
        {"allow_neg_eigval": True, "expand_v": 2.0},
        {"use_short_conv": False, "use_beta": False, "expand_k": 0.5},
        {"qk_activation": "elu", "qk_norm": "sum"},
    ],
    "hydra": [
        {"learnable_init_states": True, "ngroups": 2, "headdim": 16, "dt_limit": [0.0, 0.5]},
    ],
    "mamba": [
        {"d_state": 5, "d_conv": 1, "expand": 1.5, "dt_rank": 3, "conv_bias": False, "bias": True}
    ],
    "mamba2": [
        {"rmsnorm": False, "d_ssm": 32, "headdim": 16, "D_has_hdim": True, "bias": True},
        {"ngroups": 2, "headdim": 8, "norm_before_gate": True, "dt_limit": [0.0, 0.5]},
    ],
}
