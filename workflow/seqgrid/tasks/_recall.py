"""What tasks of recall and copying share: keys seen before, guesses from a bag, solvers' logits.

B batch, L sequence length, N slots of an example, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from seqgrid.data import Batch
from seqgrid.seeds import derive
from seqgrid.streams import Stream
from seqgrid.tasks._base import Level, Published, Task

CERTAIN = 50.0  # a logit: exp(-50) times any vocabulary is nothing
SLIGHT = 1e-4  # a logit that settles a tie and leaves the loss alone
EXACT = 256  # tokens in a bag up to which its largest count is computed exactly
TRIALS = 1 << 22  # logits behind a level that has no closed form


def first_and_previous(ids: Tensor, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The slots where each id stands first and where it stood last before, or -1; (B, N) each.

    ids: (B, N) int64.
    shown: (B, N) bool, the slots that may be the one before; None: all.
    """
    ids, order = ids.sort(dim=1, stable=True)
    slots = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    begins = torch.ones_like(ids, dtype=torch.bool)
    begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
    start = torch.where(begins, slots, 0).cummax(1).values
    first = torch.empty_like(ids).scatter_(1, order, order.gather(1, start))
    last = slots if shown is None else torch.where(shown.gather(1, order), slots, -1)
    last = torch.nn.functional.pad(last.cummax(1).values[:, :-1], (1, 0), value=-1)
    before = torch.where(last >= start, order.gather(1, last.clamp(min=0)), -1)
    return first, torch.empty_like(ids).scatter_(1, order, before)


def certain(answers: Tensor, vocab_size: int) -> Tensor:
    """Logits (B, N, V), certain of the answers (B, N)."""
    logits = torch.zeros(*answers.shape, vocab_size, device=answers.device)
    return logits.scatter_(2, answers[..., None], CERTAIN)


def uniform(like: Tensor, vocab_size: int, first: int, last: int) -> Tensor:
    """Logits (B, N, V), uniform on the tokens first..last; `first` wins the tie. like: (B, N)."""
    logits = torch.full((*like.shape, vocab_size), -CERTAIN, device=like.device)
    logits[..., first : last + 1] = 0
    logits[..., first] = SLIGHT
    return logits


def counted(counts: Tensor) -> Tensor:
    """Logits of shares in proportion to counts, at least 0; both (..., V)."""
    return torch.where(counts > 0, counts.clamp(min=1).log(), -CERTAIN).float()


def distance_slices(distance: Tensor, seqlen: int) -> dict[str, Tensor]:
    """Slices by doubling distance. distance: int64, tokens; 0 or less is in none."""
    found, low, high = {}, 1, 2
    while low < seqlen:
        found[f"distance {low}-{high}"] = (distance >= low) & (distance <= high)
        low, high = high + 1, 2 * high
    return found


def bag_scores(size: int, kinds: int) -> tuple[float, float]:
    """Accuracy and loss of who knows `size` uniform tokens of so many kinds as a bag.

    One of the tokens, each as likely, is asked for. The guess is the commonest kind, right with
    E[largest count] / size; shares stated as probabilities lose their entropy, which is kinds
    E[-(c / size) ln(c / size)] with the count c binomial.
    """
    accuracy = min(1.0, _largest_count(size, kinds) / size)
    share = torch.arange(size + 1, dtype=torch.float64) / size
    entropy = kinds * (binomial(size, 1 / kinds) * -torch.xlogy(share, share)).sum()
    return accuracy, entropy.item()


def binomial(size: int, share: float) -> Tensor:
    """Probability of 0..size successes, each with probability `share` > 0; (size + 1,) float64."""
    sizes = torch.tensor(size, dtype=torch.float64)
    return _binomial(sizes, torch.arange(size + 1, dtype=torch.float64), share)


def log_choices(places: Tensor, tokens: Tensor) -> Tensor:
    """The logarithm of C(places, tokens), float64; minus infinity where there is no such set."""
    left = places - tokens
    counts = (count.clamp(min=0).double() for count in (places, tokens, left))
    whole, one, other = (torch.lgamma(count + 1) for count in counts)
    return torch.where(left >= 0, whole - one - other, -math.inf)


def _binomial(size: Tensor, count: Tensor, share: float) -> Tensor:
    """Probability of `count` of `size` trials, float64; 0 where there are fewer trials."""
    left = (size - count).clamp(min=0)
    logarithm = torch.lgamma(size + 1) - torch.lgamma(count + 1) - torch.lgamma(left + 1)
    rest = torch.tensor(1 - share, dtype=torch.float64)
    logarithm += count * math.log(share) + torch.xlogy(left, rest)
    return torch.where(count <= size, logarithm.exp(), 0)


def _largest_count(size: int, kinds: int) -> float:
    """Expected count of the commonest of `kinds` kinds among `size` uniform tokens.

    Exact up to EXACT tokens. Beyond, counts as if independent Poisson, whose largest has the same
    mean to within a part of one token, so that the share is off by less than 1 / size.
    """
    if size <= EXACT:
        return _largest_counts(1 << max(0, size - 1).bit_length(), kinds)[size].item()
    mean = size / kinds
    counts = torch.arange(int(mean + 12 * math.sqrt(mean) + 40), dtype=torch.float64)
    density = (counts * math.log(mean) - mean - torch.lgamma(counts + 1)).exp()
    return (1 - density.cumsum(0).clamp(max=1).pow(kinds)).sum().item()


@cache
def _largest_counts(most: int, kinds: int) -> Tensor:
    """Expected largest count among 0..most tokens, (most + 1,) float64.

    E[largest] = sum over c of P(some count > c). That no count exceeds c is put together from
    fewer kinds: the tokens of k of k + l kinds are binomial.
    """
    sizes = torch.arange(most + 1, dtype=torch.float64)
    rest = (sizes[:, None] - sizes).clamp(min=0).long()  # tokens of the other kinds
    steps: list[tuple[bool, Tensor]] = []  # from k kinds to 2 k, or to k + 1
    number = 1
    for bit in bin(kinds)[3:]:
        steps.append((True, _binomial(sizes[:, None], sizes, 0.5)))
        number *= 2
        if bit == "1":
            number += 1
            steps.append((False, _binomial(sizes[:, None], sizes, 1 / number)))
    expected = torch.zeros(most + 1, dtype=torch.float64)
    for largest in range(most):
        one = within = (sizes <= largest).double()
        for double, share in steps:
            within = (share * (within if double else one) * within[rest]).sum(1)
        expected += 1 - within
        if within[-1] > 1 - 1e-12:
            break
    return expected


@cache
def _measured(
    task_class: type[Task], settings: object, seqlen: int, solver: str
) -> tuple[float, float]:
    task = task_class(settings, seqlen)  # ty: ignore[invalid-argument-type]
    logits_each = seqlen * task.shape.num_outputs
    number = min(8192, max(1024, TRIALS // logits_each))
    right = total = loss = 0.0
    for indices in torch.arange(number).split(max(1, (1 << 20) // logits_each)):
        batch = task.sample(Stream(derive("levels", solver), indices))
        asked = batch.targets >= 0 if batch.scored is None else batch.scored
        logits, targets = task.shortcuts()[solver](batch)[asked], batch.targets[asked]
        right += (logits.argmax(1) == targets).sum().item()
        loss += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        total += len(targets)
    return right / total, loss / total


def measured(task: Task, solver: str) -> tuple[float, float]:
    """Accuracy and loss of a shortcut on examples of a stream of its own, for want of a formula.

    1024 to 8192 examples: the standard error of the accuracy is about 0.005 or less.
    """
    return _measured(type(task), task.settings, task.seqlen, solver)


def usual_levels(kinds: int, what: str, why: str) -> list[Level]:
    """Chance among so many kinds of answer, certainty, and one error in a hundred."""
    return [
        Level("accuracy", "chance", "chance", 1 / kinds, f"one of {kinds} {what}"),
        Level("loss", "chance", "chance", math.log(kinds), f"ln {kinds}, uniform on {what}"),
        Level("accuracy", "ceiling", "ceiling", 1.0, why),
        Level("loss", "ceiling", "ceiling", 0.0, why),
        Level("accuracy", "solved", "solved", 0.99, "one error in a hundred"),
    ]


def shortcut_levels(name: str, scores: Sequence[float], how: str) -> list[Level]:
    """A shortcut in both its metrics; scores: accuracy and loss."""
    return [
        Level("accuracy", name, "shortcut", min(1.0, scores[0]), how),
        Level("loss", name, "shortcut", scores[1], how),
    ]


Solvers = dict[str, Callable[[Batch], Tensor]]

MAD_TASKS = ("compression", "fuzzy", "in_context", "memorization", "noisy", "selective_copying")
MAD_SCORES = {
    "Yang et al., arXiv:2406.06484, on MAD": {
        "Transformer": (51.6, 29.8, 94.1, 85.2, 86.8, 99.6),
        "Hyena": (45.2, 7.9, 81.7, 89.5, 78.8, 93.1),
        "Multi-head Hyena": (44.8, 14.4, 99.0, 89.4, 98.6, 93.0),
        "Mamba": (52.7, 6.7, 90.4, 89.5, 90.1, 86.3),
        "GLA": (38.8, 6.9, 80.8, 63.3, 81.6, 88.6),
        "DeltaNet": (42.2, 35.7, 100.0, 52.8, 100.0, 100.0),
    },
    "MetaLA, table A6, a re-run": {
        "Mamba": (43.95, 9.60, 87.92, 89.45, 90.91, 81.79),
        "GLA": (37.70, 12.45, 91.58, 57.05, 92.58, 88.63),
        "Multi-head Hyena": (47.79, 18.01, 97.46, 89.48, 98.74, 90.81),
    },
}


def mad_published(task: str, differences: str) -> tuple[Published, ...]:
    """The published scores of one of MAD's tasks, by model, with how this task differs."""
    settings = "MAD: d_model 128, 4 layers, 200 epochs, batch 128, bf16, best of 6 runs"
    shared = "a mean over settings of the task, each accuracy a mean over classes; "
    column = MAD_TASKS.index(task)
    return tuple(
        Published(source, model, settings, f"{scores[column]:g} %", shared + differences)
        for source, models in MAD_SCORES.items()
        for model, scores in models.items()
    )
