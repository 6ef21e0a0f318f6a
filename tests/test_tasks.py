"""What every task file must keep to. A new file in tasks/ is tested without being named here."""

import importlib
import math
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import pytest
import torch
from task_variants import LENGTHS, SHORT, UNLEARNABLE, VARIANTS

import seqgrid.tasks
from seqgrid import predict, registry
from seqgrid.data import IGNORE, Batch
from seqgrid.metric_names import BETTER
from seqgrid.metrics import LOSS_METRIC, loss_of, summarise
from seqgrid.settings import Sight, TaskSettings
from seqgrid.tasks._base import Task

NAMES = sorted(
    path.stem
    for path in Path(seqgrid.tasks.__file__).parent.glob("*.py")
    if not path.stem.startswith("_")
)
EXAMPLES = 2000


def parts_of(name: str) -> tuple[type[TaskSettings], type[Task]]:
    module = importlib.import_module(f"seqgrid.tasks.{name}")
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    [task] = [v for v in own if isinstance(v, type) and issubclass(v, Task)]
    return module.Settings, task


def build(name: str, seqlen: int, **settings) -> Task:
    settings_class, task_class = parts_of(name)
    return task_class(settings_class(**settings), seqlen)


def cases(lengths=LENGTHS, short=SHORT) -> list:
    found = []
    for name in NAMES:
        for changed in [{}, *VARIANTS.get(name, [])]:
            usual = short if changed else lengths
            possible = [n for n in usual if not parts_of(name)[0](**changed).impossible(n)]
            for seqlen in possible or [128]:
                words = "-".join([name, f"L{seqlen}", *(f"{k}={v}" for k, v in changed.items())])
                found.append(pytest.param(name, seqlen, changed, id=words))
    return found


@pytest.fixture
def task(name, seqlen, changed) -> Task:
    return build(name, seqlen, **changed)


every_case = pytest.mark.parametrize(("name", "seqlen", "changed"), cases())
some_case = pytest.mark.parametrize(
    ("name", "seqlen", "changed"), cases(lengths=(33,), short=(33,))
)


def examples(task: Task, n: int = 64, split: str = "test", seed: int = 1):
    return task.batch(seed, split, torch.arange(n))


@pytest.mark.parametrize("name", NAMES)
def test_a_length_is_refused_in_words(name):
    settings_class, task_class = parts_of(name)
    settings = settings_class()
    assert any(settings.impossible(seqlen) is None for seqlen in LENGTHS)
    for seqlen in range(1, 40):
        if reason := settings.impossible(seqlen):
            assert "; use " in reason
            with pytest.raises(ValueError, match=r"no \w+ at \d+ tokens: "):
                task_class(settings, seqlen)


@every_case
def test_a_batch_has_the_shape_the_task_states(task):
    batch, shape = examples(task), task.shape
    assert shape.seqlen == task.seqlen
    assert (shape.vocab_size is None) != (shape.num_channels is None)
    if shape.vocab_size is None:
        assert batch.inputs.dtype == torch.float32
        assert batch.inputs.shape == (64, task.seqlen, shape.num_channels)
        assert batch.inputs.isfinite().all()
    else:
        assert batch.inputs.dtype == torch.int64
        assert batch.inputs.shape == (64, task.seqlen)
        assert batch.inputs.min() >= 0
        assert batch.inputs.max() < shape.vocab_size
    if batch.lengths is not None:
        assert batch.lengths.dtype == torch.int64
        assert batch.lengths.shape == (64,)
        assert batch.lengths.min() >= 1
        assert batch.lengths.max() <= task.seqlen
    if shape.pooled and shape.slots is None:
        assert batch.targets.dtype == torch.float32
        assert batch.targets.shape == (64, shape.num_outputs)
    else:
        assert batch.targets.dtype == torch.int64
        assert batch.targets.shape == (64, shape.slots if shape.pooled else task.seqlen)
        if batch.lengths is not None and not shape.pooled:
            padding = torch.arange(task.seqlen) >= batch.lengths[:, None]
            assert (batch.targets[padding] == IGNORE).all()
        scored = batch.targets[batch.targets != IGNORE]
        if batch.scored is not None:
            assert batch.scored.dtype == torch.bool
            assert (batch.targets[batch.scored] != IGNORE).all()
        assert len(scored) > 0
        assert scored.min() >= 0
        assert scored.max() < shape.num_outputs


@some_case
def test_answers_that_follow_are_declared(task):
    """Where every answer is the token after it, a model that reads ahead would see it."""
    batch = examples(task, 500)
    if task.shape.pooled:
        assert not task.settings.next_token
        return
    asked = batch.targets[:, :-1] != IGNORE
    follow = (batch.inputs[:, 1:] == batch.targets[:, :-1])[asked]
    assert task.settings.next_token == (len(follow) > 0 and bool(follow.all()))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_fits_other_lengths_where_the_settings_say_so(name):
    shapes = {
        replace(build(name, n).shape, seqlen=0)
        for n in (*LENGTHS, 128)
        if not parts_of(name)[0]().impossible(n)
    }
    assert (len(shapes) == 1) == parts_of(name)[0].any_length


@every_case
def test_an_example_is_a_function_of_seed_split_and_index(task):
    block = examples(task)
    again = build_again(task).batch(1, "test", torch.tensor([40, 7]))
    assert torch.equal(block.inputs[[40, 7]], again.inputs)
    assert torch.equal(block.targets[[40, 7]], again.targets)
    other = examples(task, seed=2)
    assert not torch.equal(block.inputs, other.inputs)


def build_again(task: Task) -> Task:
    return type(task)(task.settings, task.seqlen)


@some_case
def test_examples_are_made_where_their_numbers_are(task):
    """On a device without values: no value is looked at, and nothing is made elsewhere."""
    batch = task.batch(1, "test", torch.arange(4, device="meta"))
    made = [batch.inputs, batch.targets, batch.lengths, batch.scored]
    made += [solve(batch) for solve in (task.oracle, task.constant, *task.shortcuts().values())]
    made += task.slices(batch).values()
    assert {tensor.device.type for tensor in made if tensor is not None} == {"meta"}


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_example(name):
    # where chance alone makes no two examples alike
    bits = 2 * math.log2(3 * EXAMPLES) + 10
    settings = parts_of(name)[0]()
    task = build(name, next(n for n in (64, 128, 256) if settings.log2_inputs(n) > bits))
    splits = ("train", "validation", "test")
    seen = {
        row.numpy().tobytes() for split in splits for row in examples(task, EXAMPLES, split).inputs
    }
    assert len(seen) == 3 * EXAMPLES


class Solver(torch.nn.Module):
    """A solver of a task as a model: it answers batch by batch, from the inputs alone."""

    def __init__(self, task, solve):
        super().__init__()
        self.shape, self.solve = task.shape, solve

    def forward(self, inputs, lengths=None, positions=None):
        width = inputs.shape[1]
        if self.shape.pooled:
            width = self.shape.slots or self.shape.num_outputs
        outputs = self.solve(Batch(inputs, torch.zeros(len(inputs), width), lengths))
        return outputs if positions is None else outputs.take_along_dim(positions[..., None], 1)


def summaries(task: Task, solver, n: int = EXAMPLES):
    """What a solver scores, slice by slice, through the code that scores models."""
    batch = examples(task, n)
    steps = [batch.rows(start, start + 250) for start in range(0, n, 250)]
    found = predict.slice_scores(Solver(task, solver), steps, task, task.slices)
    return {name: summarise(columns, task.loss) for name, columns in found.items()}


@every_case
def test_levels_are_what_their_solvers_score(task):
    """Oracle, constant and every shortcut, within the sampling error of the examples."""
    for tested in task.test_sets().values():
        solvers = {"ceiling": tested.oracle, "chance": tested.constant, **tested.shortcuts()}
        levels = [level for level in tested.levels() if level.kind != "solved"]
        assert {level.name for level in levels} == solvers.keys()
        for name, solver in solvers.items():
            found = summaries(tested, solver)
            for level in levels:
                if level.name == name:
                    assert_scores(found[level.slice][level.metric], level)


def assert_scores(summary, level):
    # R2 of a constant is off by the square of its error in the mean, which is no part of a
    # standard error: 10 / n
    margin = 4 * summary.standard_error + 10 / summary.examples
    assert summary.value == pytest.approx(level.value, abs=margin), level
    assert summary.low <= summary.value <= summary.high


@every_case
def test_slices_are_the_same_for_every_batch_and_fit_the_targets(task):
    batch = examples(task)
    names = list(task.slices(batch))
    assert list(task.slices(batch.rows(3, 5))) == names
    for part in task.slices(batch).values():
        assert part.dtype == torch.bool
        assert part.shape in ((64,), batch.targets.shape)
    assert {level.slice for level in task.levels()} <= {"", *names}


@pytest.mark.parametrize("name", NAMES)
def test_controls_can_be_run(name):
    """Each control names a model and settings that exist, at a length where the task does."""
    settings_class, task_class = parts_of(name)
    for control in task_class.controls:
        registry.settings("model", control.model)(**control.settings)
        settings = settings_class(**control.task_settings)
        for seqlen in {control.seqlen, control.at or control.seqlen}:
            assert settings.impossible(seqlen) is None
        tested = task_class(settings, control.at or control.seqlen).test_sets()
        assert control.test_set in tested
        assert control.why


@every_case
def test_levels_are_complete_and_in_order(name, task):
    levels = task.levels()
    assert len({(v.metric, v.name, v.slice) for v in levels}) == len(levels)
    assert task.metric in BETTER
    assert BETTER[task.metric] == task.better
    assert all(level.metric in BETTER and level.derivation for level in levels)
    primary = [level for level in levels if level.metric == task.metric and not level.slice]
    [chance] = [level.value for level in primary if level.kind == "chance"]
    [ceiling] = [level.value for level in primary if level.kind == "ceiling"]
    solved = [level.value for level in primary if level.kind == "solved"]
    if name in UNLEARNABLE:
        assert (ceiling, solved) == (chance, [])
    else:
        assert len(solved) == 1
        assert better(task, solved[0], chance)
        assert better(task, ceiling, solved[0])
    for level in primary:
        if level.kind == "shortcut":
            assert level.value == ceiling or better(task, ceiling, level.value)


def better(task: Task, one: float, other: float) -> bool:
    return one > other if task.better == "higher" else one < other


@some_case
def test_solvers_answer_in_a_models_shape_from_the_inputs_alone(name, task):
    batch = examples(task)
    shape = task.shape
    one = (64,) if shape.slots is None else (64, shape.slots)
    expected = (*one, shape.num_outputs) if shape.pooled else (64, task.seqlen, shape.num_outputs)
    blank = replace(batch, targets=torch.zeros_like(batch.targets), scored=None)
    for solver in (task.oracle, task.constant, *task.shortcuts().values()):
        outputs = solver(batch)
        assert outputs.shape == expected
        assert outputs.dtype == torch.float32
        assert torch.equal(outputs, solver(blank))
    constant = task.constant(batch)
    assert torch.equal(constant, constant[:1].expand_as(constant))
    best, usual = (loss_of(x, batch, task.loss) for x in (task.oracle(batch), constant))
    assert best == usual if name in UNLEARNABLE else best < usual
    assert LOSS_METRIC[task.loss] in summaries(task, task.oracle, n=250)[""]


def level(task: Task, metric: str, name: str) -> float:
    [value] = [x.value for x in task.levels() if (x.metric, x.name) == (metric, name)]
    return value


@pytest.mark.parametrize(
    ("seqlen", "padded", "unordered", "chunks", "both_ways"),
    [
        (100, 0.161, 0.186, 0.396, 0.495),
        (200, 0.160, 0.175, 0.604, 0.733),
        (500, 0.160, 0.165, 0.810, 0.894),
        (1000, 0.133, 0.135, 0.898, 0.936),
    ],
)
def test_selective_copy_has_the_known_ceilings_of_chunked_models(
    seqlen, padded, unordered, chunks, both_ways
):
    task = build("selective_copy", seqlen)
    assert level(task, "r2", "bag") == pytest.approx(0.125)
    assert level(task, "mse", "bag") == pytest.approx(0.0729, abs=5e-5)
    assert level(task, "r2", "bag_and_padded_chunk") == pytest.approx(padded, abs=5e-4)
    assert level(task, "r2", "chunks") == pytest.approx(chunks, abs=5e-4)
    assert level(task, "r2", "chunks_both_ways") == pytest.approx(both_ways, abs=5e-4)
    assert level(task, "r2", "unordered_chunks") == pytest.approx(unordered, abs=5e-4)
    for order in ("chunks", "chunks_both_ways", "unordered_chunks"):
        for ceiling in task.model_ceilings(Sight(order, 32)):
            assert ceiling.name == f"{order} of 32"
            assert ceiling.value == level(task, ceiling.metric, order)


def seen(order, positions, labels, seqlen, size):
    """What a model of such a sight can tell apart: which labelled values stand where."""
    cells = {}
    for at, label in zip(positions, labels, strict=True):
        back = (seqlen - 1 - at) // size if order == "chunks_both_ways" else 0
        cells.setdefault((at // size, back), set()).add(label)
    named = {cell: frozenset(values) for cell, values in cells.items()}
    if order != "unordered_chunks":
        return frozenset(named.items())
    last = seqlen // size if seqlen % size else None
    full = frozenset(v for (chunk, _), v in named.items() if chunk != last)
    return full, frozenset(v for (chunk, _), v in named.items() if chunk == last)


@pytest.mark.parametrize("order", ["chunks", "chunks_both_ways", "unordered_chunks"])
@pytest.mark.parametrize(
    ("seqlen", "markers", "size"),
    [(8, 3, 3), (6, 4, 2), (6, 3, 1), (6, 3, 6), (6, 3, 9), (7, 3, 4), (8, 1, 3), (5, 5, 2)],
)
def test_a_ceiling_of_a_model_is_what_its_sight_can_tell(order, seqlen, markers, size):
    """Every placing and every naming of the values; of each, how often it is the i-th."""
    found = defaultdict(list)
    for positions in combinations(range(seqlen), markers):
        for labels in permutations(range(markers)):
            found[seen(order, positions, labels, seqlen, size)].append(labels)
    explained = total = 0
    for alike in found.values():
        total += len(alike)
        for rank in range(markers):
            counts = Counter(labels[rank] for labels in alike)
            explained += sum(count**2 for count in counts.values()) / len(alike)
    task = build("selective_copy", seqlen, num_markers=markers)
    ceilings = {x.metric: x.value for x in task.model_ceilings(Sight(order, size))}
    assert ceilings["r2"] == pytest.approx(explained / total / markers)
    assert ceilings["mse"] == pytest.approx((1 - explained / total / markers) / 12, abs=1e-15)


def test_more_markers_than_can_be_dealt_with_have_no_ceiling_of_unordered_chunks():
    task = build("selective_copy", 64, num_markers=17)
    assert task.model_ceilings(Sight("unordered_chunks", 8)) == []
    assert task.model_ceilings(Sight("chunks", 8))


def test_selective_copy_lists_a_partition_once():
    assert list(build("selective_copy", 32).shortcuts()) == ["bag"]
    assert list(build("selective_copy", 64).shortcuts()) == ["bag", "chunks", "unordered_chunks"]


def test_adding_markers_stand_where_the_setting_says():
    def marked(**settings):
        batch = examples(build("adding_problem", 40, **settings), 500)
        positions = batch.inputs[..., 1].nonzero()[:, 1].view(500, 2)
        return positions[:, 0], positions[:, 1]

    first, last = marked(markers="halves")
    assert (first.min(), first.max(), last.min(), last.max()) == (0, 19, 20, 39)
    first, last = marked(markers="extremes")
    assert (first.min(), first.max(), last.min(), last.max()) == (0, 3, 36, 39)
    first, last = marked()
    assert (first < last).all()
    assert first.max() > 30
    assert last.min() < 10


def test_mqar_asks_for_every_key_once_and_answers_there():
    task = build("mqar", 64, vocab_size=40, num_pairs=5)
    batch = examples(task, 200)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        pairs = dict(zip(inputs[0:10:2], inputs[1:10:2], strict=True))
        assert all(1 <= key < 20 for key in pairs)
        assert all(20 <= value < 40 for value in pairs.values())
        assert len(pairs) == len(set(pairs.values())) == 5
        asked = {i: key for i, key in enumerate(inputs) if i >= 10 and key != 0}
        assert sorted(asked.values()) == sorted(pairs)
        assert {i: v for i, v in enumerate(targets) if v != IGNORE} == {
            i: pairs[key] for i, key in asked.items()
        }
        assert all(i % 2 == 0 for i in asked)


def test_mqar_gaps_follow_the_power_law():
    task = build("mqar", 64, num_pairs=1, power_a=0.01)
    batch = examples(task, 20000)
    gaps = ((batch.targets != IGNORE).int().argmax(1) - 2) // 2
    weights = [(gap + 1) ** -0.99 for gap in range(31)]
    for gap in (0, 1, 5, 30):
        share = weights[gap] / sum(weights)
        error = math.sqrt(share * (1 - share) / 20000)
        assert (gaps == gap).double().mean().item() == pytest.approx(share, abs=4 * error)
