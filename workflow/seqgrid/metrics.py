"""Loss and scores: the only place that compares outputs with targets, whatever the split.

`score` reduces each example to a few sums, the columns of an evaluation file; `summarise` turns
such columns into metrics with 95 % intervals. The unit of sampling is the example: positions of one
sequence are correlated, so no interval counts them as independent.

torch is imported where tensors are touched: who only summarises columns does not pay for it.

B batch, L sequence length, V vocabulary or classes, D width of a pooled target. What is said of
(B, L, V) logits of (B, L) targets holds for (B, slots, V) logits of (B, slots) pooled classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from seqgrid.data import Batch

Kind = Literal["cross_entropy", "mse"]

LOSS_METRIC: dict[Kind, str] = {"cross_entropy": "loss", "mse": "mse"}

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
NAN = float("nan")


@dataclass(frozen=True)
class Summary:
    """One metric over a split; NaN where it is not defined.

    standard_error: estimated over examples; 0 where all examples are alike, when `low` and `high`
    still tell how little that proves.
    examples: those with at least one scored output.
    correct: scored outputs that are right; None for R2, MSE and the loss.
    """

    value: float
    standard_error: float
    low: float
    high: float
    interval: str
    examples: int
    scored: int
    correct: int | None = None


def loss_of(outputs: Tensor, batch: Batch, kind: Kind, whole: Batch | None = None) -> Tensor:
    """The training loss, a scalar: mean over the scored outputs of the batch, NaN without any.

    outputs: (B, L, V) logits, or (B, D) values where kind is 'mse'; half precision is widened.
    whole: the batch that this one is a piece of. The losses of its pieces, and so their gradients,
    add up to those of the whole, however unevenly the scored outputs lie in them.
    """
    import torch
    from torch.nn import functional as F

    from seqgrid.data import IGNORE

    _same_shape(outputs, batch, kind)
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    reduction = "mean" if whole is None else "sum"
    if kind == "mse":
        loss = F.mse_loss(outputs, batch.targets.to(outputs.dtype), reduction=reduction)
        return loss if whole is None else loss / whole.targets.numel()
    loss = F.cross_entropy(outputs.flatten(0, 1), batch.targets.flatten(), reduction=reduction)
    return loss if whole is None else loss / (whole.targets != IGNORE).sum()


def score(
    outputs: Tensor, batch: Batch, kind: Kind, tolerance: float | None = None
) -> dict[str, Tensor | None]:
    """What an evaluation file keeps of each example, (B,) each; None where it does not apply.

    outputs: as in `loss_of`. An output that is NaN is never correct.
    tolerance: of a value that counts as correct, where kind is 'mse'.
    """
    import torch
    from torch.nn import functional as F

    from seqgrid.data import IGNORE

    _same_shape(outputs, batch, kind)
    outputs, targets = outputs.detach().float(), batch.targets
    if kind == "mse":
        scored = (
            torch.ones_like(targets, dtype=torch.bool) if batch.scored is None else batch.scored
        )
        wide, error = targets.double(), outputs.double() - targets.double()
        within = None if tolerance is None else (error.abs() <= tolerance) & scored
        return {
            "scored": scored.sum(1),
            "correct": None if within is None else within.sum(1),
            "loss_sum": torch.where(scored, error.square(), 0).sum(1),
            "target_sum": torch.where(scored, wide, 0).sum(1),
            "target_square_sum": torch.where(scored, wide.square(), 0).sum(1),
        }
    scored = targets != IGNORE  # (B, L)
    if batch.scored is not None:
        scored = scored & batch.scored
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    losses = torch.where(scored, losses.view_as(targets), 0)
    correct = (outputs.argmax(2) == targets) & scored & ~losses.isnan()
    return {
        "scored": scored.sum(1),
        "correct": correct.sum(1),
        "loss_sum": losses.double().sum(1),
        "target_sum": None,
        "target_square_sum": None,
    }


def _same_shape(outputs: Tensor, batch: Batch, kind: Kind) -> None:
    """Refuse what broadcasting would score in silence: (B,) values against (B, 1) targets."""
    shape = outputs.shape if kind == "mse" else outputs.shape[:-1]
    if shape != batch.targets.shape:
        raise ValueError(
            f"outputs {tuple(outputs.shape)} do not fit targets {tuple(batch.targets.shape)} "
            f"under {kind}"
        )


def gather(parts: Sequence[Mapping[str, Tensor | None]]) -> dict[str, np.ndarray]:
    """The scores of several batches as columns, without those that do not apply."""
    if not parts:
        return {}
    return {
        name: np.concatenate([x.cpu().numpy() for part in parts if (x := part[name]) is not None])
        for name, column in parts[0].items()
        if column is not None
    }


def summarise(columns: Mapping[str, np.ndarray], kind: Kind) -> dict[str, Summary]:
    """Every metric of a loss kind from columns of `score`, one entry per example.

    Cross entropy gives accuracy, error_rate, sequence_accuracy and loss. mse gives r2 and mse, and
    accuracy and sequence_accuracy of values within a tolerance where `score` was given one.
    """
    names = ["scored", "loss_sum"]
    names += ["correct"] if kind == "cross_entropy" or "correct" in columns else []
    names += [] if kind == "cross_entropy" else ["target_sum", "target_square_sum"]
    columns = {name: np.asarray(columns.get(name, ()), dtype=np.float64) for name in names}
    some = columns["scored"] > 0
    columns = {name: column[some] for name, column in columns.items()}
    scored, loss_sum = columns["scored"], columns["loss_sum"]
    found = {}
    with np.errstate(all="ignore"):  # a diverged model scores inf and NaN
        if kind == "mse":
            found["r2"] = _r2(loss_sum, scored, columns["target_sum"], columns["target_square_sum"])
        found[LOSS_METRIC[kind]] = _mean(loss_sum, scored)
        if "correct" in columns:
            correct = columns["correct"]
            found["accuracy"] = _share(correct, scored)
            if kind == "cross_entropy":
                found["error_rate"] = _complement(found["accuracy"])
            whole = (correct == scored).astype(float)
            found["sequence_accuracy"] = _share(whole, np.ones_like(scored))
    return found


def _ratio(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """sum(sums) / sum(counts) and its linearised standard error over examples.

    The ratio estimator of cluster sampling (Cochran 1977, "Sampling techniques", eq. 6.13, without
    the finite population's correction), each example a cluster.
    """
    n, total = len(counts), counts.sum()
    if n == 0:
        return NAN, NAN
    value = sums.sum() / total
    residual = sums - value * counts
    error = np.sqrt(n / (n - 1) * (residual**2).sum()) / total if n > 1 else NAN
    return float(value), float(error)


def _mean(loss_sum: np.ndarray, scored: np.ndarray) -> Summary:
    """Mean loss per scored output; the normal interval of a ratio, cut at 0."""
    value, error = _ratio(loss_sum, scored)
    low, high = np.clip([value - Z * error, value + Z * error], 0, None)
    method = "normal, ratio estimator over examples"
    return Summary(
        value, error, float(low), float(high), method, len(scored), int(scored.sum()), None
    )


def _share(correct: np.ndarray, scored: np.ndarray) -> Summary:
    """A share of scored outputs; Wilson's interval at the effective sample size.

    That size is the number of independent outputs with the same standard error (Korn and Graubard
    1998, with Wilson's interval in place of theirs), at most the number of outputs. Its inverse is
    averaged with that of examples whose outputs are all right or all wrong, the worst case, which
    weighs as much as one example of the rarer kind: near 0 and 1 the standard error rests on the
    few examples of that kind. Where all examples are alike it says nothing and the worst case
    stands alone. Simulated coverage is 93 % or more from 100 examples and shares of 0.1 % on.
    """
    n, total = len(scored), scored.sum()
    value, error = _ratio(correct, scored)
    method = "Wilson, effective sample size over examples"
    worst = total**2 / (scored**2).sum() if n else 0
    if error > 0:
        rarer = min((correct < scored).sum(), (correct > 0).sum())
        size = (rarer + 1) / (rarer / min(value * (1 - value) / error**2, total) + 1 / worst)
    else:
        size = worst
    low, high = wilson(value, size) if n else (NAN, NAN)
    return Summary(value, error, low, high, method, n, int(total), int(correct.sum()))


def _complement(share: Summary) -> Summary:
    """The share of scored outputs that are wrong; `correct` still counts those that are right."""
    value, low, high = 1 - share.value, 1 - share.high, 1 - share.low
    return replace(share, value=value, low=low, high=high)


def wilson(share: float, size: float) -> tuple[float, float]:
    """Wilson's 95 % interval (Wilson 1927) of a share among `size` independent trials."""
    centre = share + Z**2 / (2 * size)
    margin = Z * np.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2))
    low, high = np.clip(np.array([centre - margin, centre + margin]) / (1 + Z**2 / size), 0, 1)
    # exact at the ends, where rounding may leave 1e-17
    return (0.0 if share == 0 else float(low)), (1.0 if share == 1 else float(high))


def _r2(error: np.ndarray, count: np.ndarray, total: np.ndarray, square: np.ndarray) -> Summary:
    """1 - squared error over the squared deviations of this split's own targets from their mean.

    The interval is normal with the delta method: R2 is a function of four sums over examples, and
    each example enters by the derivative of R2 along its own terms.
    """
    n, outputs = len(count), count.sum()
    mean = total.sum() / outputs if n else NAN
    deviation = square - 2 * mean * total + mean**2 * count  # (n,)
    spread = deviation.sum()
    # targets that are all equal leave only rounding
    defined = n > 0 and spread > 1e-12 * square.sum()
    value = float(1 - error.sum() / spread) if defined else NAN
    influence = ((1 - value) * deviation - error) / spread
    deviate = float(np.sqrt(n / (n - 1) * (influence**2).sum())) if n > 1 and defined else NAN
    low, high = value - Z * deviate, float(np.clip(value + Z * deviate, None, 1))
    method = "normal, delta method over examples"
    return Summary(value, deviate, low, high, method, n, int(outputs), None)
