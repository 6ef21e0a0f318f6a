"""Flip-flop, knapsack, associative recall and the two regressions, against their definitions."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from test_tasks import build, examples, level

from seqgrid.analysis.levels import Levels
from seqgrid.cell import Cell, Training, Validation
from seqgrid.data import IGNORE
from seqgrid.loop import Loop
from seqgrid.metrics import score


def rows(task, n=100):
    """Inputs and targets as lists, for references in plain Python."""
    batch = examples(task, n)
    return zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)


# -- flip_flop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_on", ["reads", "all"])
def test_flip_flop_reads_what_was_written_last(loss_on):
    task = build("flip_flop", 40, p_ignore=0.5, loss_on=loss_on)
    batch = examples(task, 200)
    symbols = task.symbols
    for inputs, targets in rows(task, 200):
        words = [symbols[token] for token in inputs]
        assert words[0] == "w"
        assert words[-2] == "r"
        for place in range(0, 40, 2):
            assert words[place] in "wri"
            assert words[place + 1] in "01"
            if words[place] == "w":
                register = words[place + 1]
            if words[place] == "r":
                assert words[place + 1] == register
        asked = [place for place, target in enumerate(targets) if target != IGNORE]
        reads = [place for place, word in enumerate(words) if word == "r"]
        assert asked == (reads if loss_on == "reads" else list(range(39)))
        assert all(targets[place] == inputs[place + 1] for place in asked)
    scored = batch.targets != IGNORE if batch.scored is None else batch.scored
    assert torch.equal(scored, batch.inputs == symbols.index("r"))


@pytest.mark.parametrize(("ignore", "test_set"), [(0.8, ""), (0.98, "sparse"), (0.1, "dense")])
def test_flip_flop_has_the_published_shares_of_instructions(ignore, test_set):
    task = build("flip_flop", 512).test_sets()[test_set]
    instructions = examples(task, 400).inputs[:, 2:-2:2]
    for token, share in ((0, (1 - ignore) / 2), (1, (1 - ignore) / 2), (2, ignore)):
        error = math.sqrt(share * (1 - share) / instructions.numel())
        found = (instructions == token).double().mean().item()
        assert found == pytest.approx(share, abs=4 * error)
    free = examples(task, 400).inputs[:, 1::2][examples(task, 400).inputs[:, 0::2] != 1]
    assert (free == 4).double().mean().item() == pytest.approx(0.5, abs=2 / math.sqrt(len(free)))


def every_flip_flop(n, ignore):
    """Each example of n instructions, as (instruction, bit) pairs, with its probability."""
    odds = {"w": (1 - ignore) / 2, "r": (1 - ignore) / 2, "i": ignore}
    for middle in itertools.product("wri", repeat=n - 2):
        words = ["w", *middle, "r"]
        free = sum(word != "r" for word in words)
        chance = math.prod(odds[word] for word in middle) / 2**free
        for bits in itertools.product((0, 1), repeat=free):
            left, told, register = list(bits), [], None
            for word in words:
                bit = register if word == "r" else left.pop(0)
                if word == "w":
                    register = bit
                told.append((word, bit))
            yield told, chance


@pytest.mark.parametrize(("n", "ignore"), [(2, Fraction(1, 2)), (5, Fraction(3, 5))])
def test_flip_flop_levels_equal_an_enumeration_of_all_examples(n, ignore):
    wrong = dict.fromkeys(("copy_last_bit", "majority_bit", "first_bit", "last_read"), 0.0)
    reads = total = 0.0
    for told, chance in every_flip_flop(n, ignore):
        total += chance
        bits = [bit for _, bit in told]
        for place, (word, bit) in enumerate(told):
            if word == "r":
                reads += chance
                wrong["copy_last_bit"] += chance * (bits[place - 1] != bit)
                ones = 2 * sum(bits[:place]) - place
                guess = Fraction(1, 2) if ones == 0 else int(ones > 0)
                wrong["majority_bit"] += chance * abs(guess - bit)
                wrong["first_bit"] += chance * (bits[0] != bit)
                told_before = [b for w, b in told[:place] if w == "r"] or bits[:1]
                wrong["last_read"] += chance * (told_before[-1] != bit)
    assert total == pytest.approx(1)
    task = build("flip_flop", 2 * n, p_ignore=float(ignore))
    for name, errors in wrong.items():
        assert level(task, "error_rate", name) == pytest.approx(float(errors / reads))


def test_flip_flop_slices_part_the_reads_by_distance():
    task = build("flip_flop", 40, p_ignore=0.7)
    batch = examples(task, 50)
    slices = task.slices(batch)
    assert list(slices) == [f"distance {x}" for x in ("1", "2", "3-4", "5-8", "9-16", "17-32")]
    parted = torch.stack(list(slices.values())).int().sum(0)
    assert torch.equal(parted, (batch.targets != IGNORE).int())
    for name, part in slices.items():
        low, *more = (int(bound) for bound in name.removeprefix("distance ").split("-"))
        high = more[0] if more else low
        for row, place in part.nonzero().tolist():
            words = batch.inputs[row, 0:place:2].tolist()
            assert low <= 1 + words[::-1].index(0) <= high


def test_flip_flop_tells_how_many_inputs_there_are():
    settings = build("flip_flop", 64).settings
    # uniform over i with either bit, w with either bit and r would be log2 5
    assert settings.log2_inputs(4) == 1
    alike = sum(chance**2 for _, chance in every_flip_flop(5, Fraction(4, 5)))
    assert settings.log2_inputs(10) == pytest.approx(-math.log2(alike))


@pytest.mark.parametrize(
    ("seqlen", "message"),
    [(2, "4 tokens and there are 2; use a longer"), (33, "33 tokens .* use 32 or 34")],
)
def test_flip_flop_refuses_what_holds_no_pairs(seqlen, message):
    with pytest.raises(ValueError, match=message):
        build("flip_flop", seqlen)


# -- flip_flop_unlearnable -------------------------------------------------------------------------


def test_unlearnable_flip_flop_scores_the_next_symbol_at_each_value():
    task = build("flip_flop_unlearnable", 256)
    redrawn = kept = 0
    for inputs, targets in rows(task, 200):
        assert {place for place, x in enumerate(targets) if x != IGNORE} == set(range(1, 255, 2))
        assert all(targets[place] == inputs[place + 1] for place in range(1, 255, 2))
        value_of = {}
        for symbol, value in zip(inputs[0::2], inputs[1::2], strict=True):
            assert symbol < 10 <= value < 12
            if symbol in value_of:
                kept += value_of[symbol] == value
                redrawn += value_of[symbol] != value
            value_of[symbol] = value
    total = kept + redrawn
    assert kept / total == pytest.approx(0.75, abs=4 * math.sqrt(0.1875 / total))
    # the published ceiling of the values, had they been scored
    first = 128 * 200 - total
    assert first / (128 * 200) == pytest.approx(0.078, abs=0.001)
    assert (0.5 * first + 0.75 * total) / (128 * 200) == pytest.approx(0.73, abs=0.005)


def test_training_never_calls_the_unlearnable_solved(tmp_path):
    cell = Cell(
        model="lstm",
        model_settings={"d_model": 8, "num_layers": 1},
        task="flip_flop_unlearnable",
        seqlen=8,
        seed=0,
        training=Training(steps=4),
        validation=Validation(every_steps=1, examples=20),
    )
    loop = Loop(cell, tmp_path, 1, None)
    assert loop.run(lambda loop: False) == "budget of 4 steps"
    assert loop.progress().solved_step is None


def test_the_verdict_on_the_unlearnable_is_that():
    levels = build("flip_flop_unlearnable", 64).levels()
    for metric, value in (("accuracy", 0.1), ("loss", math.log(10))):
        values = {x.kind: x.value for x in levels if x.metric == metric}
        assert values == {"chance": pytest.approx(value), "ceiling": pytest.approx(value)}
        assert Levels(chance=values["chance"], ceiling=values["ceiling"]).unlearnable


# -- knapsack --------------------------------------------------------------------------------------


def most_value(capacity, items):
    """By trying every choice of items."""
    chosen = itertools.chain.from_iterable(
        itertools.combinations(items, number) for number in range(len(items) + 1)
    )
    return max(sum(v for _, v in some) for some in chosen if sum(w for w, _ in some) <= capacity)


def by_ratio(capacity, items):
    total = 0
    for weight, value in sorted(items, key=lambda item: -Fraction(item[1], item[0])):
        if weight <= capacity:
            capacity, total = capacity - weight, total + value
    return total


def test_knapsack_asks_for_the_optimum_of_its_items():
    task = build("knapsack", 33, most_items=9)
    batch = examples(task, 150)
    symbols = task.symbols
    solvers = task.shortcuts()
    greedy, by_value, best = (
        solvers[name](batch).argmax(2)
        for name in ("greedy_by_ratio", "greedy_by_value", "best_greedy")
    )
    numbers = set()
    for row, (inputs, [answer]) in enumerate(rows(task, 150)):
        words = [symbols[token] for token in inputs]
        capacity, number = int(words[0]), int(words[1])
        numbers.add(number)
        flat = [int(word) for word in words[2 : 2 + 2 * number]]
        items = list(zip(flat[0::2], flat[1::2], strict=True))
        assert words[2 + 2 * number :] == ["?", *"_" * (33 - 3 - 2 * number)]
        assert batch.lengths[row] == 3 + 2 * number
        assert 10 <= capacity <= 49
        assert all(1 <= w <= capacity // 2 - 1 and 1 <= v <= 99 for w, v in items)
        assert answer == most_value(capacity, items)
        assert greedy[row] == by_ratio(capacity, items)
        assert best[row] == max(greedy[row], by_value[row])
    assert numbers == set(range(5, 10))


def test_knapsack_has_the_known_distribution_of_optima():
    """Facts about the original, computed from 20,000 examples."""
    optima = examples(build("knapsack", 31), 20000).targets.flatten()
    count = optima.bincount()
    share = count[count > 0].double() / 20000
    assert len(share) == pytest.approx(560, abs=20)
    assert -(share * share.log()).sum() == pytest.approx(5.91, abs=0.015)
    assert share.max() == pytest.approx(0.0054, abs=0.0007)
    assert optima.min() >= 30
    assert optima.max() <= 800


def test_knapsack_tells_how_many_inputs_there_are():
    settings = build("knapsack", 31).settings
    one = {"smallest_capacity": 10, "largest_capacity": 10, "fewest_items": 2, "most_items": 2}
    two = {"smallest_capacity": 10, "largest_capacity": 11, "fewest_items": 1, "most_items": 2}
    # four weights, ten values
    assert type(settings)(**one, largest_value=10).log2_inputs(31) == pytest.approx(
        2 * math.log2(40)
    )
    alike = (1 / 40 + 1 / 40**2) / 8
    assert type(settings)(**two, largest_value=10).log2_inputs(31) == pytest.approx(
        -math.log2(alike)
    )


@pytest.mark.parametrize(
    ("changed", "seqlen", "message"),
    [
        ({"smallest_capacity": 50}, 64, "smallest_capacity=50 is above largest_capacity=49"),
        ({"fewest_items": 15}, 64, "fewest_items=15 is above most_items=14"),
        ({}, 30, "14 items need 31 tokens and there are 30; use most_items <= 13 or a longer"),
    ],
)
def test_knapsack_refuses_empty_ranges_and_short_sequences(changed, seqlen, message):
    with pytest.raises(ValueError, match=message):
        build("knapsack", seqlen, **changed)


# -- mqar ------------------------------------------------------------------------------------------


def test_mqar_mixes_numbers_of_pairs():
    task = build("mqar", 128, num_pairs=12, fewest_pairs=2, vocab_size=64)
    batch = examples(task, 600)
    slices = task.slices(batch)
    assert list(slices) == ["pairs 2", "pairs 4", "pairs 8"]
    sizes = []
    for inputs, targets in rows(task, 600):
        pairs = {}
        while inputs[2 * len(pairs)] and inputs[2 * len(pairs) + 1]:
            assert 1 <= inputs[2 * len(pairs)] < 32 <= inputs[2 * len(pairs) + 1] < 64
            pairs[inputs[2 * len(pairs)]] = inputs[2 * len(pairs) + 1]
        asked = {place: x for place, x in enumerate(targets) if x != IGNORE}
        assert len(set(pairs.values())) == len(pairs) == len(asked)
        assert asked == {place: pairs[inputs[place]] for place in asked}
        assert all(place % 2 == 0 and place >= 2 * len(pairs) for place in asked)
        assert sum(x != 0 for x in inputs) == 3 * len(pairs)
        sizes.append(len(pairs))
    for size in (2, 4, 8):
        assert slices[f"pairs {size}"].tolist() == [found == size for found in sizes]
        assert sizes.count(size) == pytest.approx(200, abs=4 * math.sqrt(600 * 2 / 9))


def test_mqar_gaps_of_a_mix_follow_the_power_law_to_the_end():
    task = build("mqar", 64, num_pairs=2, fewest_pairs=1)
    batch = examples(task, 30000)
    one = (batch.targets != IGNORE).sum(1) == 1
    gaps = ((batch.targets[one] != IGNORE).int().argmax(1) - 2) // 2
    weights = [(gap + 1) ** -0.99 for gap in range(31)]
    for gap in (0, 1, 15, 30):
        share = weights[gap] / sum(weights)
        error = math.sqrt(share * (1 - share) / len(gaps))
        assert (gaps == gap).double().mean().item() == pytest.approx(share, abs=4 * error)


def test_mqar_levels_of_a_mix_are_those_of_its_parts():
    mix = build("mqar", 64, num_pairs=8, fewest_pairs=2)
    levels = {(x.metric, x.name, x.slice): x.value for x in mix.levels()}
    assert levels["accuracy", "in_context_value", ""] == pytest.approx(3 / 14)
    for pairs in (2, 4, 8):
        alone = build("mqar", 64, num_pairs=pairs)
        for part in alone.levels():
            if part.kind == "shortcut":
                assert levels[part.metric, part.name, f"pairs {pairs}"] == part.value


def test_mqar_tells_how_many_inputs_there_are():
    settings = type(build("mqar", 64).settings)
    # orders of 1 of 3 keys and 1 of 4 values, of 2 and 2
    assert settings(vocab_size=8, num_pairs=2).log2_inputs(8) == pytest.approx(math.log2(6 * 12))
    mixed = settings(vocab_size=8, num_pairs=2, fewest_pairs=1).log2_inputs(8)
    assert mixed == pytest.approx(-math.log2((1 / 12 + 1 / 72) / 4))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fewest_pairs": 5}, "fewest_pairs=5 is above num_pairs=4"),
        ({"fewest_pairs": 2, "random_non_queries": True}, "hides where the pairs end"),
    ],
)
def test_mqar_refuses_mixes_that_are_none(changed, message):
    with pytest.raises(ValueError, match=message):
        build("mqar", 64, **changed)


# -- mqar_pentathlon -------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "seqlen", "vocabulary"), [(32, 96, 129), (64, 160, 257)])
def test_pentathlon_recall_has_the_published_shape(pairs, seqlen, vocabulary):
    task = build("mqar_pentathlon", seqlen, num_pairs=pairs)
    assert task.shape.vocab_size == vocabulary
    both = set()
    for inputs, targets in rows(task):
        value_of = dict(zip(inputs[0 : 2 * pairs : 2], inputs[1 : 2 * pairs : 2], strict=True))
        assert len(value_of) == len(set(value_of.values())) == pairs
        assert max(*value_of, *value_of.values()) < vocabulary - 1
        both |= value_of.keys() & set(value_of.values())
        asked = [place for place, x in enumerate(targets) if x != IGNORE]
        assert asked == list(range(2 * pairs + 1, seqlen, 2))
        assert len(asked) == 16
        assert all(task.symbols[inputs[place]] == "?" for place in asked)
        assert [targets[place] for place in asked] == [value_of[inputs[x - 1]] for x in asked]
    assert len(both) > vocabulary // 2  # tokens are keys in one place and values in another
    assert level(task, "accuracy", "chance") == pytest.approx(1 / (vocabulary - 1))
    assert level(task, "accuracy", "in_context_value") == pytest.approx(1 / pairs, rel=0.05)


def test_pentathlon_recall_asks_for_the_first_pairs_more_often():
    task = build("mqar_pentathlon", 256, num_pairs=4, power=1.0)
    batch = examples(task, 200)
    keys = batch.inputs[:, None, 0:8:2]
    rank = (batch.inputs[:, 8::2, None] == keys).int().argmax(2)
    for place, weight in enumerate((12, 6, 4, 3)):
        share = weight / 25
        error = math.sqrt(share * (1 - share) / rank.numel())
        assert (rank == place).double().mean().item() == pytest.approx(share, abs=4 * error)
    assert level(task, "accuracy", "in_context_value") == pytest.approx(12 / 25, abs=1e-5)


def test_pentathlon_recall_tells_how_many_inputs_there_are():
    task = build("mqar_pentathlon", 8, num_pairs=2, vocab_size=4, power=1.0)
    # six orders of keys and of values, and two queries for the first pair in two cases of three
    assert task.settings.log2_inputs(8) == pytest.approx(math.log2(36 * (9 / 5) ** 2))


@pytest.mark.parametrize(
    ("changed", "seqlen", "message"),
    [
        ({}, 32, "16 pairs and a query need 34 tokens and there are 32; use fewer pairs or"),
        ({}, 97, "97 tokens are no pairs .* use 96 or 98"),
        ({"vocab_size": 16}, 96, "a vocabulary of 16 has 15 keys for 16 pairs; use vocab_size >="),
    ],
)
def test_pentathlon_recall_refuses_what_does_not_fit(changed, seqlen, message):
    with pytest.raises(ValueError, match=message):
        build("mqar_pentathlon", seqlen, **changed)


# -- adding_problem and selective_copy -------------------------------------------------------------


def test_adding_counts_as_right_what_hochreiter_and_schmidhuber_did():
    """Within 0.04 of 0.5 + (x1 + x2) / 4, where x is uniform on [-1, 1] in place of [0, 1]."""
    task = build("adding_problem", 20)
    x = 2 * examples(task).targets.sum(1) - 2
    original = 0.5 + x / 4
    guess = original + torch.linspace(-0.06, 0.06, len(x))
    ours = (4 * (guess - 0.5) + 2) / 2
    found = score(ours[:, None], examples(task), task.loss, task.tolerance)["correct"]
    assert torch.equal(found, ((guess - original).abs() <= 0.04).long())


def test_selective_copy_has_levels_for_every_chunk_size():
    task = build("selective_copy", 100, num_markers=8, chunk_sizes=[16, 32])
    alone = build("selective_copy", 100, num_markers=8)
    assert level(task, "r2", "chunks_32") == level(alone, "r2", "chunks")
    assert level(task, "r2", "chunks_both_ways_32") == level(alone, "r2", "chunks_both_ways")
    # the last 4 of 100 positions stand alone in both, and are listed once
    assert level(task, "r2", "bag_and_padded_chunk_16") == level(
        alone, "r2", "bag_and_padded_chunk"
    )
    assert "bag_and_padded_chunk_32" not in task.shortcuts()
    assert level(task, "r2", "chunks_16") > level(task, "r2", "chunks_32")
    assert level(task, "sequence_accuracy", "chance") == pytest.approx(0.2**8)
    both = examples(task).inputs, examples(alone).inputs
    assert torch.equal(*both)


def test_selective_copy_refuses_chunks_of_nothing():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        build("selective_copy", 100, chunk_sizes=[32, 0])
