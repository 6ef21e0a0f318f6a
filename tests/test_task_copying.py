"""Memorization, compression, copying and induction: generators against plain Python."""

import itertools
import math
from collections import Counter

import pytest
import torch
from task_rows import answers, rows
from test_tasks import build, examples

from seqgrid.data import IGNORE

N = 300


# -- memorization and compression


def test_the_dictionary_is_one_to_one_and_the_same_for_every_seed():
    task = build("memorization", 33, vocab_size=40)
    known = {}
    for seed, split in ((1, "train"), (2, "test")):
        for inputs, targets, scored in rows(examples(task, N, split, seed)):
            assert scored == [i % 2 == 1 for i in range(33)]
            assert inputs[1::2] == [39] * 16
            for key, value in zip(inputs[0::2], targets[1::2], strict=False):
                assert known.setdefault(key, value) == value
    assert known.keys() == set(range(19))
    assert len(set(known.values())) == 19
    assert all(19 <= value < 39 for value in known.values())
    other = build("memorization", 33, vocab_size=40, map_seed=1).dictionary
    assert not torch.equal(other, task.dictionary)


def test_the_published_training_set_of_memorization_misses_keys():
    """37 % at 8192, as the docstring of the task says."""
    assert pytest.approx(0.37, abs=0.005) == (1 - 1 / ((8192 - 1) // 2)) ** (256 * 16)


def test_compression_asks_for_all_but_the_last():
    task = build("compression", 9)
    assert (task.shape.slots, task.shape.num_outputs) == (8, 15)
    for inputs, targets, _ in rows(examples(task)):
        assert inputs == [*targets, 15]
        assert max(targets) < 15


# -- selective copying


@pytest.mark.parametrize(("encoding", "first", "blank"), [("mamba", 1, 0), ("mad", 0, 14)])
def test_tokens_are_asked_for_in_their_order(encoding, first, blank):
    task = build("selective_copying", 30, num_tokens=6, encoding=encoding)
    for inputs, targets, _ in rows(examples(task, N)):
        tokens = [token for token in inputs if token not in (blank, 15)]
        assert targets == [IGNORE] * 24 + tokens
        assert all(first <= token < first + 14 for token in tokens)
        if encoding == "mamba":
            assert inputs[24:] == [15] * 6
            assert 15 not in inputs[:24]
        else:
            assert inputs[23:] == [15] + [blank] * 6
            assert inputs[22] != blank  # the last token is always there


def test_places_are_distributed_as_in_the_originals():
    """Mamba: every set alike. MAD: every blank chooses its gap."""

    def shares(**settings):
        task = build("selective_copying", 8, num_tokens=2, vocab_size=5, **settings)
        batch = examples(task, 6000)
        data = (batch.inputs != task.blank) & (batch.inputs != 4)
        places = Counter(tuple(row.nonzero()[:, 0].tolist()) for row in data)
        return {key: count / 6000 for key, count in places.items()}

    mamba = shares()
    assert mamba == pytest.approx(
        dict.fromkeys(itertools.combinations(range(6), 2), 1 / 15), abs=0.013
    )
    expected = {(k, 4): math.comb(3, k) / 8 for k in range(4)}
    assert shares(encoding="mad") == pytest.approx(expected, abs=0.026)


# -- induction heads


def test_the_special_token_stands_once_in_the_context_and_at_the_end():
    task = build("induction_heads", 10)
    batch = examples(task, 4000)
    places = Counter()
    for inputs, targets, scored in rows(batch):
        assert inputs.count(16) == 2
        assert inputs[-1] == 16
        place = inputs.index(16)
        places[place] += 1
        assert answers(targets, scored) == {9: inputs[place + 1]}
        assert inputs[place + 1] < 16
    assert places.keys() == set(range(8))
    assert max(places.values()) < 500 + 5 * math.sqrt(500)
    slices = task.slices(batch)
    assert list(slices) == ["distance 1-2", "distance 3-4", "distance 5-8", "distance 9-16"]
    totals = [part.sum().item() for part in slices.values()]
    assert totals == [
        places[7],
        places[6] + places[5],
        sum(places[i] for i in (1, 2, 3, 4)),
        places[0],
    ]
