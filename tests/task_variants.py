"""Settings of tasks that are worth testing beside the defaults, and lengths where the usual do not.

A task is tested at its defaults without being named here.
"""

LENGTHS = (2, 3, 16, 33, 64)  # of a task's defaults
SHORT = (16, 33)  # of its variants

VARIANTS: dict[str, list[dict]] = {
    "adding_problem": [{"markers": "halves"}, {"markers": "extremes"}],
    "selective_copy": [{"num_markers": 1}, {"num_markers": 2}],
    "mqar": [
        {"num_pairs": 1, "vocab_size": 4},
        {"num_pairs": 2, "vocab_size": 12, "power_a": 1.0},
        {"num_pairs": 3, "vocab_size": 33, "random_non_queries": True},
    ],
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
