"""Settings of tasks that are worth testing beside the defaults, and lengths where the usual do not.

A task is tested at its defaults without being named here.
"""

LENGTHS = (2, 3, 16, 33, 64)  # of a task's defaults
SHORT = (16, 33)  # of its variants
UNLEARNABLE = {"flip_flop_unlearnable"}  # the ceiling is chance, and no score solves them

VARIANTS: dict[str, list[dict]] = {
    "adding_problem": [{"markers": "halves"}, {"markers": "extremes"}],
    "selective_copy": [{"num_markers": 1}, {"num_markers": 2, "chunk_sizes": [5, 8]}],
    "flip_flop": [{"p_ignore": 0.0}, {"p_ignore": 0.98}, {"loss_on": "all"}],
    "flip_flop_unlearnable": [{"num_symbols": 30, "flip_prob": 0.1}],
    "knapsack": [
        {"smallest_capacity": 8, "largest_capacity": 12, "most_items": 6, "largest_value": 5},
    ],
    "mqar_pentathlon": [
        {"num_pairs": 4},
        {"num_pairs": 6, "vocab_size": 8, "power": 1.0},
        {"num_pairs": 3, "power": 0.0},
    ],
    "mqar": [
        {"num_pairs": 1, "vocab_size": 4},
        {"num_pairs": 2, "vocab_size": 12, "power_a": 1.0},
        {"num_pairs": 3, "vocab_size": 33, "random_non_queries": True},
        {"num_pairs": 4, "vocab_size": 33, "fewest_pairs": 1},
    ],
    "in_context_recall": [{"vocab_size": 4}, {"vocab_size": 65, "loss_on": "answers"}],
    "noisy_in_context_recall": [
        {"frac_noise": 0.0},
        {"vocab_size": 13, "noise_vocab_size": 4, "frac_noise": 0.8, "loss_on": "answers"},
    ],
    "fuzzy_in_context_recall": [
        {"key_tokens": 1, "value_tokens": 1, "vocab_size": 5},
        {"key_tokens": 2, "value_tokens": 4, "vary_keys": False, "loss_on": "answers"},
    ],
    "memorization": [{"vocab_size": 5}, {"vocab_size": 18, "map_seed": 1}],
    "compression": [{"vocab_size": 3}],
    "selective_copying": [
        {"num_tokens": 1},
        {"num_tokens": 1, "encoding": "mad", "vocab_size": 4},
        {"num_tokens": 5, "vocab_size": 7},
        {"num_tokens": 7, "encoding": "mad"},
    ],
    "induction_heads": [{"vocab_size": 2}],
    "parity": [{"shortest": 1}, {"shortest": 3, "scored": "every"}],
    "modular_arithmetic": [
        {"shortest": 1},
        {"modulus": 2, "shortest": 3, "scored": "every"},
        {"modulus": 6, "scored": "every"},
    ],
    "word_problem": [{"group": "S5"}, {"group": "Z60"}, {"group": "A4xZ5"}],
    "reverse_string": [{"shortest": 2}, {"shortest": 6, "vocab_size": 5}],
    "duplicate_string": [{"shortest": 3}, {"shortest": 7, "vocab_size": 5}],
    "odds_first": [{"shortest": 2}, {"shortest": 6, "vocab_size": 5}],
    "forrelation": [{"n_bits": 1}, {"n_bits": 3}],
}
