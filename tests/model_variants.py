"""Settings of each model, besides its defaults, that every contract test runs over."""

VARIANTS = {
    "attention": [{"positions": "learned"}, {"positions": "none"}, {"causal": False}],
    "deltanet": [
        {"allow_neg_eigval": True, "expand_v": 2.0},
        {"use_short_conv": False, "use_beta": False, "expand_k": 0.5},
        {"qk_activation": "elu", "qk_norm": "sum"},
    ],
    "gla": [
        {"use_short_conv": True, "conv_bias": True, "num_kv_heads": 2, "clamp_min": -0.5},
        {"gate_fn": "sigmoid", "feature_map": "relu", "gate_logit_normalizer": 1.0},
    ],
    "hgrn2": [{"use_short_conv": True, "num_heads": 4, "expand_ratio": None}],
    "linear_attention": [
        {"feature_map": "elu", "do_feature_map_norm": True, "num_kv_heads": 2},
        {"feature_map": "hedgehog", "tie_feature_map_qk": True, "norm_q": True, "norm_k": True},
        {"feature_map": "dpfp", "output_norm": "identity"},
    ],
    "mlstm": [{"bias": True, "conv1d_kernel_size": 0, "qkv_proj_blocksize": 8}],
    "retnet": [{"use_short_conv": True, "num_kv_heads": 1, "use_output_gate": False}],
}
