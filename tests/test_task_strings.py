"""Tasks on strings and on two functions: generators against definitions, levels, bad input."""

import math
from itertools import combinations, permutations, product

import pytest
import torch

from seqgrid import registry
from seqgrid.data import IGNORE, Batch
from seqgrid.tasks.forrelation import log_likelihood_ratio, transform
from seqgrid.tasks.word_problem import group_of


def make(name, seqlen, **settings):
    return registry.make_task(name, settings, seqlen)


def examples(task, n=200, seed=5):
    return task.batch(seed, "test", torch.arange(n))


def level(task, name, metric="accuracy"):
    [value] = [x.value for x in task.levels() if (x.metric, x.name) == (metric, name)]
    return value


def rows(task, batch):
    """(text without padding, targets without padding) of each example."""
    lengths = [task.seqlen] * len(batch) if batch.lengths is None else batch.lengths.tolist()
    for inputs, targets, n in zip(batch.inputs, batch.targets, lengths, strict=True):
        text = [task.symbols[token] for token in inputs.tolist()]
        assert set(text[n:]) <= {"_"}
        assert "_" not in text[:n]
        assert (targets[n:] == IGNORE).all()
        yield text[:n], targets[:n].tolist()


def answers(task, text):
    """What the oracle answers to a text, at every position."""
    text = [*text] + ["_"] * (task.seqlen - len(text))
    inputs = torch.tensor([[task.symbols.index(symbol) for symbol in text]])
    return task.oracle(Batch(inputs, torch.zeros_like(inputs))).argmax(2)[0].tolist()


LAST = {"last": lambda n: [n - 1], "every": range}


@pytest.mark.parametrize("scored", ["last", "every"])
@pytest.mark.parametrize("shortest", [None, 4])
def test_parity_counts_ones(scored, shortest):
    task = make("parity", 11, shortest=shortest, scored=scored)
    seen = set()
    for text, targets in rows(task, examples(task)):
        expected = [IGNORE] * len(text)
        for i in LAST[scored](len(text)):
            expected[i] = text[: i + 1].count("1") % 2
        assert targets == expected
        seen.add(len(text))
    assert seen == ({11} if shortest is None else {*range(4, 12)})


@pytest.mark.parametrize("n", range(1, 9))
def test_no_threshold_on_the_count_tells_more_of_parity(n):
    counts = [sum(bits) for bits in product((0, 1), repeat=n)]
    best = max(
        abs(sum((k <= c) == (k % 2 == 0) for k in counts) / 2**n - 0.5) for c in range(-1, n)
    )
    assert level(make("parity", n), "count_threshold") == pytest.approx(0.5 + best)


def test_parity_of_every_prefix_weighs_prefixes_as_they_occur():
    one = [level(make("parity", n), "count_threshold") for n in range(1, 6)]
    expected = (3 * (one[0] + one[1] + one[2]) + 2 * one[3] + one[4]) / (3 + 4 + 5)
    task = make("parity", 5, shortest=3, scored="every")
    assert level(task, "count_threshold") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("parity", ["3-7", "8-12", "13-17", "18-22"]),
        ("modular_arithmetic", ["3-5", "7-11", "13-15", "17-21"]),
        ("duplicate_string", ["3-3", "6-9", "12-15", "18-21"]),
    ],
)
def test_slices_are_quarters_of_the_lengths(name, expected):
    task = make(name, 22, shortest=3)
    batch = examples(task)
    slices = task.slices(batch)
    assert list(slices) == [f"length {one}" for one in expected]
    assert torch.equal(sum(part.long() for part in slices.values()), torch.ones(200).long())
    for one, part in zip(expected, slices.values(), strict=True):
        low, high = map(int, one.split("-"))
        assert (batch.lengths[part].min(), batch.lengths[part].max()) == (low, high)


@pytest.mark.parametrize("modulus", [2, 5, 6])
@pytest.mark.parametrize("scored", ["last", "every"])
@pytest.mark.parametrize("seqlen", [12, 13])
def test_modular_arithmetic_is_what_python_says(modulus, scored, seqlen):
    task = make("modular_arithmetic", seqlen, modulus=modulus, scored=scored, shortest=4)
    seen = set()
    for text, targets in rows(task, examples(task)):
        expected = [IGNORE] * len(text)
        for i in LAST[scored](len(text)):
            if i % 2 == 0:
                expected[i] = eval("".join(text[: i + 1])) % modulus
        assert targets == expected
        seen.add(len(text))
    assert seen == {*range(5, seqlen + 1, 2)}


@pytest.mark.parametrize(
    ("expression", "value"), [("1+2*3", 2), ("1-1-1", 4), ("0*1+4*3-2", 0), ("2-3*2", 1)]
)
def test_modular_arithmetic_has_the_precedence_of_the_original(expression, value):
    task = make("modular_arithmetic", 9, shortest=1)
    assert answers(task, expression)[len(expression) - 1] == value


def test_modular_arithmetic_has_the_levels_of_all_expressions():
    every = [
        f"{a}{p}{b}{q}{c}" for a, p, b, q, c in product("01234", "+-*", "01234", "+-*", "01234")
    ]
    values = [eval(text) % 5 for text in every]
    naive = [eval(f"({text[:3]}){text[3:]}") % 5 for text in every]
    ends = [max(text.rfind(sign) for sign in "+-") for text in every]
    terms = [eval(text[max(end, 0) :]) % 5 for text, end in zip(every, ends, strict=True)]
    shares = [values.count(value) / len(every) for value in range(5)]
    task = make("modular_arithmetic", 5)
    assert level(task, "chance") == pytest.approx(max(shares))
    entropy = -sum(share * math.log(share) for share in shares)
    assert level(task, "chance", "loss") == pytest.approx(entropy)
    for name, guesses in (("left_to_right", naive), ("last_term", terms)):
        right = sum(guess == value for guess, value in zip(guesses, values, strict=True))
        assert level(task, name) == pytest.approx(right / len(every))


@pytest.mark.parametrize("group", ["A5", "S5", "Z60", "A4xZ5"])
def test_word_problem_multiplies_from_left_to_right(group):
    def times(a, b):
        if group == "Z60":
            return str((int(a) + int(b)) % 60)
        if group == "A4xZ5":
            (a, i), (b, j) = a.split(","), b.split(",")
            return f"{times_permutations(a, b)},{(int(i) + int(j)) % 5}"
        return times_permutations(a, b)

    def times_permutations(a, b):
        return "".join(b[int(image) - 1] for image in a)

    task = make("word_problem", 13, group=group)
    for text, targets in rows(task, examples(task, 50)):
        running = text[:1]
        for symbol in text[1:]:
            running.append(times(running[-1], symbol))
        assert [task.symbols[target] for target in targets] == running


ORDERS = {
    "A5": {1: 1, 2: 15, 3: 20, 5: 24},
    "S5": {1: 1, 2: 25, 3: 20, 4: 30, 5: 24, 6: 20},
    "Z60": {order: sum(math.gcd(i, 60) == 60 // order for i in range(60)) for order in (1, 60)},
    "A4xZ5": {1: 1, 2: 3, 3: 8, 5: 4, 10: 12, 15: 32},
}


@pytest.mark.parametrize("group", ORDERS)
def test_groups_have_their_known_orders_and_commutators(group):
    found = group_of(group)
    table, size = found.table, len(found.names)
    assert len(set(found.names)) == size == (120 if group == "S5" else 60)
    element = torch.arange(size)
    assert torch.equal(table[0], element)
    power, order = element.clone(), torch.ones(size, dtype=torch.int64)
    while (power != 0).any():
        order += power != 0
        power = torch.where(power == 0, 0, table[power, element])
    counted = dict(zip(*(x.tolist() for x in order.unique(return_counts=True)), strict=True))
    assert {k: counted[k] for k in ORDERS[group]} == ORDERS[group]
    derived = {"A5": 60, "S5": 60, "Z60": 1, "A4xZ5": 4}[group]
    assert (found.cosets == found.cosets[0]).sum() == derived
    # a homomorphism: the coset of a product depends on the cosets alone
    assert torch.equal(found.cosets[table], found.cosets[table[found.cosets][:, found.cosets]])


def test_even_permutations_are_even():
    even = {
        "".join(map(str, p))
        for p in permutations(range(1, 6))
        if sum(a > b for a, b in combinations(p, 2)) % 2 == 0
    }
    assert set(group_of("A5").names) == even


EXPECTED = {
    "reverse_string": lambda s: s[::-1],
    "duplicate_string": lambda s: s + s,
    "odds_first": lambda s: s[0::2] + s[1::2],
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("shortest", [None, 7])
@pytest.mark.parametrize("vocab_size", [2, 7])
def test_strings_come_back_in_their_order(name, shortest, vocab_size):
    task = make(name, 26, shortest=shortest, vocab_size=vocab_size)
    factor = task.tokens_per_symbol
    seen = set()
    for text, targets in rows(task, examples(task)):
        size = text.index("?")
        assert text[size:] == ["?"] * (factor - 1) * size
        assert [str(x) for x in targets[size:]] == EXPECTED[name](text[:size])
        assert targets[:size] == [IGNORE] * size
        seen.add(size)
    most = 26 // factor
    assert seen == ({most} if shortest is None else {*range(-(-7 // factor), most + 1)})


@pytest.mark.parametrize(
    ("name", "string", "answer"),
    [
        ("reverse_string", "011010", "010110"),
        ("duplicate_string", "101", "101101"),
        ("odds_first", "00110101", "01000111"),
        ("odds_first", "110", "101"),
    ],
)
def test_published_examples(name, string, answer):
    task = make(name, 24, shortest=6)
    found = answers(task, string + "?" * len(answer))
    assert "".join(map(str, found[len(string) :]))[: len(answer)] == answer


@pytest.mark.parametrize(("n", "vocab_size"), [(1, 2), (2, 2), (5, 2), (7, 2), (4, 3), (5, 3)])
def test_bags_are_right_as_often_as_over_all_strings(n, vocab_size):
    strings = [*product(range(vocab_size), repeat=n)]
    share = sum(max(map(bits.count, bits)) for bits in strings) / (n * len(strings))
    task = make("odds_first", 2 * n, vocab_size=vocab_size)
    error = 1e-9 if vocab_size == 2 else 0.01
    assert level(task, "majority") == pytest.approx(share, abs=error)
    middles = [(bits[1:-1], min(n, 2)) for bits in strings]
    right = sum(ends + max(map(bits.count, bits), default=0) for bits, ends in middles)
    assert level(task, "ends") == pytest.approx(right / (n * len(strings)), abs=error)


def test_reverse_has_the_levels_of_all_strings():
    # both lengths are as likely, and there are three times as many strings of the longer one
    strings = [bits for n in (2, 2, 2, 3) for bits in product((0, 1, 2), repeat=n)]
    right = sum(symbol == bits[-1] for bits in strings for symbol in bits)
    task = make("reverse_string", 6, shortest=4, vocab_size=3)
    assert level(task, "last_symbol") == pytest.approx(right / sum(map(len, strings)))


@pytest.mark.parametrize(
    ("name", "seqlen", "shortest", "sets"),
    [
        ("parity", 40, 40, {""}),
        ("parity", 40, 39, {"", "longest"}),
        ("modular_arithmetic", 40, 38, {""}),  # 39 tokens are the next
        ("modular_arithmetic", 40, 37, {"", "longest"}),
        ("reverse_string", 16, 15, {""}),
        ("duplicate_string", 26, 22, {""}),
        ("duplicate_string", 26, 21, {"", "longest"}),
    ],
)
def test_the_longest_are_a_test_set_where_there_are_shorter_ones(name, seqlen, shortest, sets):
    assert make(name, seqlen, shortest=shortest).test_sets().keys() == sets
    assert make(name, seqlen).test_sets().keys() == {""}


@pytest.mark.parametrize(
    ("name", "seqlen", "settings"),
    [
        ("parity", 7, {"shortest": 2}),
        ("modular_arithmetic", 5, {"shortest": 2}),
        ("modular_arithmetic", 4, {"modulus": 7}),
        ("reverse_string", 9, {"shortest": 3, "vocab_size": 3}),
        ("duplicate_string", 15, {}),
        ("odds_first", 8, {"shortest": 2}),
        ("word_problem", 1, {}),
        ("word_problem", 2, {"group": "S5"}),
    ],
)
def test_inputs_collide_as_often_as_stated(name, seqlen, settings):
    task = make(name, seqlen, **settings)
    n = 6000
    counts = examples(task, n).inputs.unique(dim=0, return_counts=True)[1].double()
    found = (counts * (counts - 1)).sum().item() / (n * (n - 1))
    stated = 2 ** -task.settings.log2_inputs(seqlen)
    assert found == pytest.approx(stated, rel=5 / math.sqrt(n * n / 2 * stated) + 0.05)


def test_hadamard_transform_is_its_definition():
    values = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    signs = [[(-1.0) ** (x & y).bit_count() for x in range(8)] for y in range(8)]
    expected = values @ torch.tensor(signs, dtype=torch.float64)
    assert torch.allclose(transform(values), expected)


def functions(batch, bits):
    """Values of f and g by argument, (B, N) each, 0 where not shown; the same wherever shown."""
    found = []
    weights = 2 ** torch.arange(bits)
    for part in (batch.inputs[..., : bits + 1], batch.inputs[..., bits + 1 :]):
        argument = (part[..., :bits].long() * weights).sum(2)
        shown = torch.zeros(len(batch), 2**bits).scatter(1, argument, part[..., bits])
        assert torch.equal(shown.gather(1, argument), part[..., bits])
        assert part[..., bits].abs().eq(1).all()
        assert part[..., :bits].unique().tolist() == [0, 1]
        found.append(shown)
    return found


def test_forrelated_pairs_have_the_known_forrelation():
    bits, size = 4, 16
    batch = examples(make("forrelation", 400, n_bits=bits), 1000)
    f, g = functions(batch, bits)
    whole = (f != 0).all(1) & (g != 0).all(1)
    assert whole.all()
    phi = (f * transform(g)).sum(1) / size**1.5
    label = batch.targets[:, 0] == 1
    expected = math.sqrt(size) * 2 / math.pi * math.asin(1 / math.sqrt(size))
    error = phi[label].std().item() / math.sqrt(label.sum())
    assert phi[label].mean().item() == pytest.approx(expected, abs=4 * error)
    apart = phi[~label]
    assert apart.mean().item() == pytest.approx(0, abs=4 * apart.std().item() / 20)
    assert apart.var().item() == pytest.approx(1 / size, rel=0.3)
    for one in (f, g):  # neither function alone tells the class
        means = one.mean(1)
        error = means.std().item() * math.sqrt(1 / label.sum() + 1 / (~label).sum())
        assert (means[label].mean() - means[~label].mean()).abs() < 4 * error
        spread = means.square()
        error = spread.std().item() * math.sqrt(1 / label.sum() + 1 / (~label).sum())
        assert (spread[label].mean() - spread[~label].mean()).abs() < 4 * error


@pytest.mark.parametrize("bits", [1, 2])
def test_forrelation_has_the_ceiling_of_counted_orthants(bits):
    size = 2**bits
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(400_000, size, dtype=torch.float64, generator=generator)
    signs = torch.cat((normal >= 0, transform(normal) >= 0), dim=1).long()
    number = (signs * 2 ** torch.arange(2 * size)).sum(1)
    forrelated = number.bincount(minlength=4**size) / len(normal)
    independent = 1 / 4**size
    exact = torch.maximum(forrelated, torch.full_like(forrelated, independent)).sum() / 2
    task = make("forrelation", 100, n_bits=bits)  # shows each function whole
    assert level(task, "ceiling") == pytest.approx(exact.item(), abs=0.03)
    patterns = torch.arange(4**size)[:, None] >> torch.arange(2 * size) & 1
    f, g = (1.0 - 2.0 * (1 - patterns)).double().split(size, dim=1)
    decided = log_likelihood_ratio(f, g) > 0
    scored = torch.where(decided, forrelated, independent).sum() / 2
    assert scored.item() == pytest.approx(exact.item(), abs=0.002)


def test_forrelation_states_a_calibrated_posterior():
    task = make("forrelation", 40)
    batch = examples(task, 3000)
    logits = task.oracle(batch)
    sure = logits.softmax(2).amax(2).mean().item()
    right = (logits.argmax(2) == batch.targets).double().mean().item()
    assert right == pytest.approx(sure, abs=4 * math.sqrt(right * (1 - right) / 3000))


@pytest.mark.parametrize(
    ("seqlen", "ceiling", "same_step"),
    [(20, 0.78, 0.56), (50, 0.96, 0.61), (100, 0.997, 0.66), (200, 1.0, 0.71)],
)
def test_forrelation_has_the_documented_levels(seqlen, ceiling, same_step):
    task = make("forrelation", seqlen)
    assert level(task, "ceiling") == pytest.approx(ceiling, abs=0.012)
    assert level(task, "same_step") == pytest.approx(same_step, abs=0.02)


@pytest.mark.parametrize(
    ("name", "seqlen", "settings", "words"),
    [
        ("parity", 4, {"shortest": 5}, "has 5 tokens and there are 4; use shortest <= 4"),
        ("modular_arithmetic", 4, {"shortest": 4}, "at most 3 of 4.*; use shortest <= 3"),
        ("reverse_string", 1, {}, "has 2 tokens and 1 hold .* of 0; use"),
        ("duplicate_string", 8, {"shortest": 7}, "has 7 tokens and 8 hold .* of 6; use"),
        ("odds_first", 1, {}, "has 2 tokens and 1 hold .* of 0; use"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(name, seqlen, settings, words):
    with pytest.raises(ValueError, match=words):
        make(name, seqlen, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("parity", {"shortest": 0}),
        ("modular_arithmetic", {"modulus": 11}),
        ("modular_arithmetic", {"modulus": 1}),
        ("word_problem", {"group": "A6"}),
        ("reverse_string", {"vocab_size": 1}),
        ("forrelation", {"n_bits": 0}),
        ("forrelation", {"n_bits": 9}),
    ],
)
def test_settings_out_of_bounds_are_refused(name, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make(name, 16, **settings)
