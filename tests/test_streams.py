import itertools
import math
import subprocess
import sys
from collections import Counter

import pytest
import torch

from seqgrid.seeds import derive
from seqgrid.streams import SPLITS, Stream, _minus_log, _shuffled, epoch_order, philox, split_key

# counter, key, words: kat_vectors of Random123, the authors' own implementation
KNOWN_ANSWERS = [
    ("00000000" * 4, "00000000" * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff" * 4, "ffffffff" * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words_of(text: str) -> list[int]:
    text = text.replace(" ", "")
    return [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]


def stream(n: int = 1000, key: int = 7, start: int = 0) -> Stream:
    return Stream(key, torch.arange(start, start + n))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter, key, expected):
    low, high = words_of(key)
    block = torch.tensor(words_of(counter))[:, None].expand(4, 3)
    words = philox(block, high << 32 | low)
    assert words.T.tolist() == [words_of(expected)] * 3


def test_a_draw_is_the_block_of_its_counter():
    index, key = 5 + (3 << 32), derive("any")
    draws = Stream(key, torch.tensor([index]))
    draws.words(1)
    counter = torch.tensor([[0, 1], [1, 1], [5, 5], [3, 3]])  # block, draw, index low and high
    expected = philox(counter, key).T.flatten()[:6]
    assert draws.words(6)[0].tolist() == expected.tolist()


def test_an_example_does_not_depend_on_its_batch():
    # long enough to be worked on in several chunks
    block, alone = stream(300), Stream(7, torch.tensor([123]))
    for draw in (
        lambda s: s.uniform(501),
        lambda s: s.integers(3, 10),
        lambda s: s.choose(5, 1000),
        lambda s: s.choose(5, 6),
        lambda s: s.choose_weighted(4, torch.arange(1.0, 9.0, dtype=torch.float64)),
    ):
        assert torch.equal(draw(block)[123:124], draw(alone))


def test_keys_draws_and_examples_give_different_words():
    one = stream()
    words = torch.cat([one.words(4), one.words(4), stream(key=8).words(4)], dim=1)
    assert words.unique().numel() > words.numel() - 10  # birthdays among 2^32


def test_uniform_is_uniform_on_the_half_open_interval():
    values = stream(2000).uniform(50)
    assert values.dtype == torch.float32
    assert values.min() >= 0
    assert values.max() < 1
    counts = torch.histc(values, 20, 0, 1)
    assert chi_square(counts, torch.full((20,), 5000.0)) < 50  # 19 degrees of freedom
    assert torch.corrcoef(values.T).fill_diagonal_(0).abs().max() < 0.12


def test_integers_may_have_a_bound_for_each_column():
    values = stream(3000).integers(3, torch.tensor([1, 7, 2**31]))
    assert values[:, 0].tolist() == [0] * 3000
    assert chi_square(values[:, 1].bincount(minlength=7), torch.full((7,), 3000 / 7)) < 25
    assert 0 <= values[:, 2].min() < values[:, 2].max() < 2**31


def chi_square(counts, expected) -> float:
    return ((counts - expected) ** 2 / expected).sum().item()


@pytest.mark.parametrize(("n", "population"), [(3, 4), (2, 40), (1, 1), (4, 4)])
def test_choose_gives_every_ordered_subset_alike(n, population):
    rows = stream(24000).choose(n, population).tolist()
    counts = Counter(map(tuple, rows))
    subsets = list(itertools.permutations(range(population), n))
    assert counts.keys() <= set(subsets)
    drawn = torch.tensor([float(counts[s]) for s in subsets])
    freedom = max(1, len(subsets) - 1)
    bound = freedom + 5 * math.sqrt(2 * freedom)
    assert chi_square(drawn, torch.full_like(drawn, 24000 / len(subsets))) < bound


@pytest.mark.parametrize(("n", "population"), [(64, 4095), (31, 300), (300, 300)])
def test_choose_gives_distinct_integers_of_the_population(n, population):
    rows = stream(50).choose(n, population)
    assert rows.shape == (50, n)
    assert rows.min() >= 0
    assert rows.max() < population
    assert all(len(set(row)) == n for row in rows.tolist())


def test_choose_refuses_more_than_there_are():
    for n in (0, 5):
        with pytest.raises(ValueError, match=f"cannot choose {n} distinct integers out of 4"):
            stream().choose(n, 4)


@pytest.mark.parametrize(("n", "population"), [(1, 1), (7, 7), (9, 12), (20, 100)])
def test_the_sparse_shuffle_is_that_of_fisher_and_yates(n, population):
    steps = stream(200).integers(n, population - torch.arange(n))
    for row, result in zip(steps.tolist(), _shuffled(steps).tolist(), strict=True):
        slots = list(range(population))
        for i, step in enumerate(row):
            slots[i], slots[i + step] = slots[i + step], slots[i]
        assert result == slots[:n]


def test_weighted_choice_is_successive_and_without_replacement():
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    counts = Counter(map(tuple, stream(40000).choose_weighted(2, weights).tolist()))
    for first, second in itertools.permutations(range(3), 2):
        share = weights[first] / 8 * weights[second] / (8 - weights[first])
        assert counts[first, second] / 40000 == pytest.approx(share.item(), abs=0.01)


def test_the_logarithm_is_accurate_everywhere():
    words = stream(1000).words(8).flatten().double()
    ends = torch.tensor([0, 1, 2**31 - 1, 2**31, 2**32 - 1], dtype=torch.float64)
    u = (torch.cat([words, ends]) + 0.5) * 2.0**-32
    assert (_minus_log(u) + u.log()).abs().max() < 1e-9


def test_epoch_orders_are_permutations_that_differ():
    orders = [epoch_order(1001, 3, epoch) for epoch in (0, 1)] + [epoch_order(1001, 4, 0)]
    for order in orders:
        assert order.sort().values.tolist() == list(range(1001))
    assert (orders[0] == orders[1]).sum() < 10
    assert (orders[0] == orders[2]).sum() < 10
    assert torch.equal(orders[0], epoch_order(1001, 3, 0))


def test_the_numbers_never_change():
    """Finished results name seeds, not data: other numbers would silently be other data."""
    weights = torch.arange(1.0, 9.0, dtype=torch.float64)
    numbers = stream(2)
    assert derive("data", 0) == 8140695113698350710
    assert split_key(0, "train") == 8590160023693027473
    assert numbers.words(3).tolist() == [
        [4099963437, 3221879260, 490388034],
        [2126179728, 737597871, 1336687403],
    ]
    assert numbers.choose(3, 100).tolist() == [[18, 15, 96], [0, 57, 17]]
    assert numbers.choose(3, 4).tolist() == [[1, 0, 3], [2, 1, 0]]
    assert numbers.choose_weighted(3, weights).tolist() == [[4, 2, 6], [5, 6, 4]]
    assert epoch_order(6, 0, 0).tolist() == [5, 4, 3, 1, 0, 2]


def test_every_split_has_its_own_key():
    keys = {split_key(seed, split) for seed in range(50) for split in SPLITS}
    assert len(keys) == 150
    with pytest.raises(ValueError, match="no split 'tset'"):
        split_key(0, "tset")


def test_a_seed_depends_on_every_part_its_type_and_its_place():
    seeds = {
        derive(*parts)
        for parts in [(), (1,), ("1",), (1, 1), (11,), ("a", "b"), ("ab",), ("b", "a")]
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    with pytest.raises(TypeError, match=r"not from 0\.5"):
        derive("lr", 0.5)


def test_seeds_and_summaries_do_not_import_torch():
    program = "import sys, seqgrid.seeds, seqgrid.metrics; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_draws_the_same_numbers():
    weights = torch.arange(1.0, 60.0, dtype=torch.float64) ** -0.99
    on_cpu, on_gpu = stream(5000), Stream(7, torch.arange(5000, device="cuda"))
    for draw in (
        lambda s: s.uniform(9),
        lambda s: s.choose(8, 100),
        lambda s: s.choose(50, 60),
        lambda s: s.choose_weighted(8, weights),
    ):
        assert torch.equal(draw(on_cpu), draw(on_gpu).cpu())
