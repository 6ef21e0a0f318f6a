"""Settings of each model, besides its defaults, that every contract test runs over."""

VARIANTS = {
    "attention": [
        {"positions": "learned"},
        {"positions": "none"},
        {"causal": False},
        {"window_size": 5, "num_kv_heads": 2, "qkv_bias": True, "rope_interleaved": False},
        {"window_size": 5, "causal": False, "qk_norm": True},
    ],
    "deltanet": [
        {"allow_neg_eigval": True, "expand_v": 2.0},
        {"use_short_conv": False, "use_beta": False, "expand_k": 0.5},
        {"qk_activation": "elu", "qk_norm": "sum"},
        {"use_gate": True, "conv_bias": True},
    ],
    "hyena": [{"order": 3, "l_max": 16, "emb_dim": 7, "normalized": True, "activation": "silu"}],
    "hybrid": [
        {
            "num_layers": 3,
            "pattern": ["gru", "hyena", "local"],
            "mixers": {"local": {"model": "attention", "window_size": 5, "positions": "none"}},
        },
        {
            "pattern": ["attention", "mingru"],
            "mixers": {"attention": {"causal": False, "positions": "learned"}},
        },
    ],
    "mingru": [{"expansion_factor": 1.5, "positive": False}],
    "minlstm": [{"expansion_factor": 1.5, "positive": False}],
    "slstm": [
        {"conv1d_kernel_size": 0, "num_heads": 2, "recurrent_weight_init": "standard"},
        {"group_norm_weight": False, "bias_init": "standard"},
    ],
    "gated_deltanet": [
        {"allow_neg_eigval": True, "num_heads": 2, "num_v_heads": 4, "expand_v": 1.0},
        {"use_gate": False, "use_short_conv": False, "head_dim": 6},
    ],
    "gated_deltaproduct": [
        {"num_householder": 3, "use_forget_gate": False, "num_heads": 2, "num_v_heads": 4},
    ],
    "kda": [
        {"safe_gate": True, "lower_bound": -5.0, "allow_neg_eigval": True, "expand_v": 2.0},
        {"num_heads": 2, "num_v_heads": 4, "use_short_conv": False},
    ],
    "rwkv7": [{"head_dim": None, "num_heads": 4, "value_dim": 16, "elementwise_affine": False}],
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
    "qh_1b": [{"positions": "sinusoidal", "chunk_size": 5, "num_qubits": 3}],
    "qh_1c": [{"positions": "sinusoidal", "chunk_size": 5, "num_qubits": 3}],
    "qh_2d": [{"positions": "sinusoidal", "chunk_size": 5, "num_qubits": 3}],
    "qh_2g": [{"degree": 3, "chunk_size": 5, "num_qubits": 3}],
    "retnet": [{"use_short_conv": True, "num_kv_heads": 1, "use_output_gate": False}],
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
