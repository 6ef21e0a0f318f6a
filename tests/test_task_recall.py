"""Recall in context, and levels of all that recall or copy, against plain Python."""

import itertools
import math
from collections import Counter

import pytest
import torch
from task_rows import answers, rows
from test_tasks import build, examples, level, parts_of

from seqgrid.data import IGNORE
from seqgrid.tasks import _recall

N = 300


# -- in-context recall, with and without noise


@pytest.mark.parametrize("loss_on", ["every_token", "answers"])
@pytest.mark.parametrize("seqlen", [3, 16, 33])
@pytest.mark.parametrize("name", ["in_context_recall", "noisy_in_context_recall"])
def test_values_of_keys_seen_before_are_asked_for(name, seqlen, loss_on):
    keys, values = 8, 8
    task = build(name, seqlen, loss_on=loss_on)
    for inputs, targets, scored in rows(examples(task, N)):
        if loss_on == "every_token":
            assert targets[:-1] == inputs[1:]
            assert targets[-1] == IGNORE if seqlen % 2 == 0 else targets[-1] >= keys
        pairs, expected = {}, {}
        for i in range(0, seqlen, 2):
            key, value = inputs[i], (inputs + targets[-1:])[i + 1]
            if key >= keys + values:
                assert name.startswith("noisy")
                assert value >= keys + values
                continue
            assert key < keys
            assert keys <= value < keys + values
            if key in pairs:
                assert value == pairs[key]
                expected[i] = value
            pairs[key] = value
        assert answers(targets, scored) == expected
        assert (seqlen - 1) // 2 * 2 in expected  # the last pair is always one


def test_keys_values_and_noise_are_as_likely_as_the_settings_say():
    task = build("noisy_in_context_recall", 21, frac_noise=0.4)
    inputs = examples(task, 4000).inputs
    slots = inputs[:, 0:20:2]  # all but the last; one of the ten is no noise for certain
    noise = (slots >= 16).double().mean().item()
    assert noise == pytest.approx(0.4 * 9 / 10, abs=4 * math.sqrt(0.25 / 40000))
    for tokens in (inputs[inputs < 8], inputs[(inputs >= 8) & (inputs < 16)], inputs[inputs >= 16]):
        counts = tokens.bincount()[tokens.min() :].double()
        share = 1 / len(counts)
        # values of an example repeat, so that their shares vary more than those of draws
        assert (counts / len(tokens) - share).abs().max() < 12 * math.sqrt(share / len(tokens))
    assert ((inputs < 8).sum(1) >= 2).all()


def test_the_last_key_is_each_of_those_seen_as_often():
    task = build("in_context_recall", 9, vocab_size=8)
    ranks = Counter()
    for inputs, _, _ in rows(examples(task, 4000)):
        seen = list(dict.fromkeys(inputs[0:8:2]))
        ranks[len(seen), seen.index(inputs[8])] += 1
    for size in (2, 3):
        total = sum(ranks[size, rank] for rank in range(size))
        for rank in range(size):
            error = math.sqrt((size - 1) / size**2 / total)
            assert ranks[size, rank] / total == pytest.approx(1 / size, abs=4 * error)


def test_levels_of_two_keys_and_two_values_by_hand():
    # three pairs: the second key is the first again in half of the examples; the third always is
    # one of those seen, of one key as often as of two; of two keys the values differ half the time
    task = build("in_context_recall", 5, vocab_size=4)
    assert level(task, "accuracy", "in_context_value") == pytest.approx((1 + 0.5 * 0.75) / 1.5)
    assert level(task, "loss", "in_context_value") == pytest.approx(0.5 * 0.5 * math.log(2) / 1.5)
    assert level(task, "accuracy", "last_value") == pytest.approx((1 + 0.5 * 0.75) / 1.5)
    assert level(task, "accuracy", "last_pair") == 1.0  # the other of two is known then


def test_slices_by_distance_are_those_of_the_pairs():
    task = build("in_context_recall", 33)
    batch = examples(task, N)
    slices = task.slices(batch)
    assert list(slices)[:4] == ["last answer", "distance 1-2", "distance 3-4", "distance 5-8"]
    for row, (inputs, targets, scored) in enumerate(rows(batch)):
        seen = {}
        for i in range(0, 33, 2):
            if scored[i]:
                distance = i - seen[inputs[i]]
                inside = [n for n, part in slices.items() if part[row, i] and n != "last answer"]
                [low, high] = inside[0].removeprefix("distance ").split("-")
                assert len(inside) == 1
                assert int(low) <= distance <= int(high)
            seen[inputs[i]] = i
        assert answers(targets, slices["last answer"][row].tolist()).keys() == {32}


# -- fuzzy in-context recall


@pytest.mark.parametrize("vary_keys", [True, False])
def test_fuzzy_pairs_keep_their_values(vary_keys):
    task = build("fuzzy_in_context_recall", 40, vocab_size=12, vary_keys=vary_keys)
    sizes = Counter()
    for inputs, targets, scored in rows(examples(task, N)):
        tokens = [*inputs, targets[-1]]
        assert tokens[1:] == targets
        start = next(i for i, token in enumerate(tokens) if token != 11)
        assert 11 not in tokens[start:]
        runs = []  # of keys and values in turn
        for is_value, run in itertools.groupby(tokens[start:], lambda token: token >= 5):
            runs.append((is_value, tuple(run)))
        assert [is_value for is_value, _ in runs] == [False, True] * (len(runs) // 2)
        assert all(len(run) == len(set(run)) <= 3 for _, run in runs)
        strings = [run for _, run in runs]
        pairs, expected, place = {}, {}, start
        for key, value in zip(strings[0::2], strings[1::2], strict=True):
            sizes[len(key), len(value)] += 1
            place += len(key)
            if key in pairs:
                assert pairs[key] == value
                expected |= {place + i - 1: token for i, token in enumerate(value)}
            pairs[key] = value
            place += len(value)
        assert place == len(tokens) == 41
        assert answers(targets, scored) == expected
        assert strings[-2] in strings[0:-2:2]
    assert {key for key, _ in sizes} == ({1, 2, 3} if vary_keys else {3})
    assert {value for _, value in sizes} == {1, 2, 3}


def test_fuzzy_strings_are_every_string_of_distinct_tokens_as_often():
    task = build("fuzzy_in_context_recall", 11, vocab_size=9, vary_keys=False)
    batch = examples(task, 6000)
    begin = (batch.inputs != 8).int().argmax(1)
    keys = batch.inputs.gather(1, begin[:, None] + torch.arange(3))
    counts = Counter(map(tuple, keys.tolist()))
    assert counts.keys() == set(itertools.permutations(range(4), 3))
    assert max(counts.values()) < 6000 / 24 + 5 * math.sqrt(6000 / 24)


def test_fuzzy_is_tested_as_mad_does_too():
    tested = build("fuzzy_in_context_recall", 33).test_sets()
    assert tested.keys() == {"", "longest_keys"}
    assert tested["longest_keys"].settings.vary_keys is False
    assert build("fuzzy_in_context_recall", 33, vary_keys=False).test_sets().keys() == {""}
    one_token = build("fuzzy_in_context_recall", 33, key_tokens=1)
    assert one_token.test_sets().keys() == {""}


def test_fuzzy_slices_say_which_token_of_the_value_and_how_far():
    task = build("fuzzy_in_context_recall", 40)
    batch = examples(task, N)
    slices = task.slices(batch)
    for row, (inputs, _, scored) in enumerate(rows(batch)):
        for i in (i for i, yes in enumerate(scored) if yes):
            behind = next(n for n in range(3) if inputs[i - n] < 7)  # tokens since the key
            of_value = [f"value token {n + 1}" for n in range(3)]
            assert [n for n in of_value if slices[n][row, i]] == [f"value token {behind + 1}"]
            assert sum(part[row, i].item() for n, part in slices.items() if "dist" in n) == 1


# -- what they share


def test_first_and_previous_are_those_of_a_walk():
    ids = torch.randint(0, 5, (50, 12), generator=torch.Generator().manual_seed(0))
    shown = torch.rand(50, 12, generator=torch.Generator().manual_seed(1)) < 0.6
    first, previous = _recall.first_and_previous(ids)
    _, last_shown = _recall.first_and_previous(ids, shown)
    for row in range(50):
        walk = ids[row].tolist()
        for i, key in enumerate(walk):
            earlier = [j for j in range(i) if walk[j] == key]
            assert first[row, i] == (earlier[0] if earlier else i)
            assert previous[row, i] == (earlier[-1] if earlier else -1)
            earlier = [j for j in earlier if shown[row, j]]
            assert last_shown[row, i] == (earlier[-1] if earlier else -1)


@pytest.mark.parametrize(("size", "kinds"), [(1, 3), (2, 2), (4, 3), (5, 4), (7, 2), (3, 7)])
def test_a_bag_scores_what_all_its_strings_say(size, kinds):
    right, loss = 0.0, 0.0
    for string in itertools.product(range(kinds), repeat=size):
        shares = [count / size for count in Counter(string).values()]
        right += max(shares)
        loss -= sum(share * math.log(share) for share in shares)
    number = kinds**size
    expected = pytest.approx(right / number), pytest.approx(loss / number, abs=1e-9)
    assert _recall.bag_scores(size, kinds) == expected


def test_large_bags_are_scored_nearly_as_well_without_the_exact_counts():
    size = _recall.EXACT + 1
    for kinds in (2, 16, 100, 1000):
        exact = _recall._largest_counts(size, kinds)[size].item() / size
        assert _recall.bag_scores(size, kinds)[0] == pytest.approx(exact, abs=1 / size)


SMALL = [
    ("in_context_recall", {"vocab_size": 5}, 7),
    ("noisy_in_context_recall", {"vocab_size": 6, "noise_vocab_size": 2, "frac_noise": 0.2}, 9),
    ("memorization", {"vocab_size": 9}, 10),
    ("compression", {"vocab_size": 5}, 6),
    ("selective_copying", {"vocab_size": 5, "num_tokens": 3}, 10),
    ("induction_heads", {"vocab_size": 3}, 8),
]


@pytest.mark.parametrize(("name", "settings", "seqlen"), SMALL)
def test_examples_are_alike_as_often_as_the_number_of_inputs_says(name, settings, seqlen):
    task = build(name, seqlen, **settings)
    counts = Counter(map(tuple, examples(task, 4000).inputs.tolist()))
    alike = sum(count * (count - 1) / 2 for count in counts.values())
    expected = 4000 * 3999 / 2 * 2 ** -task.settings.log2_inputs(seqlen)
    assert expected > 500
    assert alike == pytest.approx(expected, rel=0.1)  # pairs of examples are not independent


@pytest.mark.parametrize(
    ("name", "settings", "seqlen"),
    [
        ("fuzzy_in_context_recall", {"key_tokens": 1, "value_tokens": 1, "vocab_size": 5}, 9),
        ("selective_copying", {"encoding": "mad", "vocab_size": 5, "num_tokens": 4}, 12),
    ],
)
def test_examples_are_alike_no_more_often_than_the_bound_says(name, settings, seqlen):
    task = build(name, seqlen, **settings)
    counts = Counter(map(tuple, examples(task, 2000).inputs.tolist()))
    alike = sum(count * (count - 1) / 2 for count in counts.values())
    bound = 2000 * 1999 / 2 * 2 ** -task.settings.log2_inputs(seqlen)
    assert 0 < alike < bound


@pytest.mark.parametrize(
    ("name", "settings", "seqlen", "words"),
    [
        ("in_context_recall", {}, 2, "3 tokens; use a longer sequence"),
        ("noisy_in_context_recall", {"noise_vocab_size": 30}, 32, "; use vocab_size >= 34"),
        ("fuzzy_in_context_recall", {}, 10, "needs 11 tokens; use a longer sequence"),
        ("fuzzy_in_context_recall", {"vocab_size": 6}, 64, "; use vocab_size >= 7"),
        ("memorization", {}, 1, "2 tokens; use a longer sequence"),
        ("compression", {}, 1, "; use a longer sequence"),
        ("selective_copying", {}, 31, "need 32 places; use fewer tokens"),
        ("selective_copying", {"encoding": "mad"}, 32, "need 33 places; use fewer tokens"),
        ("induction_heads", {}, 2, "need 3 tokens; use a longer sequence"),
    ],
)
def test_what_is_impossible_is_said_with_its_bound(name, settings, seqlen, words):
    settings_class, _ = parts_of(name)
    assert words in (settings_class(**settings).impossible(seqlen) or "")
    if "use vocab_size >= " in words:  # the remedy is one, and the least
        least = int(words.rpartition(" ")[2])
        assert not settings_class(**settings | {"vocab_size": least}).impossible(seqlen)
        assert settings_class(**settings | {"vocab_size": least - 1}).impossible(seqlen)
    else:
        assert not settings_class(**settings).impossible(seqlen + 1)
