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
}
