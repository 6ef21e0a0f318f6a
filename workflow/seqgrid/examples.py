"""Training batches by step, generated in blocks: a pure function of (task, seeds, step)."""

import torch

from seqgrid.cell import Cell
from seqgrid.data import Batch
from seqgrid.streams import epoch_order
from seqgrid.tasks._base import Task

# Generating a block of steps at once divides the cost of many small tensor operations; larger
# blocks only cost memory.
BLOCK_ELEMENTS = 1 << 17


class Examples:
    """Batches of a training, and the validation set.

    Without a fixed training set, step s sees examples s*B ... s*B+B-1 and no example twice. With
    one of n examples, epochs go through it in an order that is a pure function of (order seed,
    epoch), and the last batch of an epoch runs over into the next.
    """

    def __init__(self, cell: Cell, task: Task, device: torch.device) -> None:
        self.cell, self.task, self.device = cell, task, device
        self.data_seed, self.order_seed = cell.seed_of("data"), cell.seed_of("order")
        width = cell.training.batch_size * cell.seqlen
        self.block_steps = max(1, min(64, BLOCK_ELEMENTS // width))
        self.block: tuple[int, Batch] | None = None
        self.orders: dict[int, torch.Tensor] = {}

    def batch(self, step: int) -> Batch:
        """The batch of optimiser step `step`, counted from 0."""
        first = step - step % self.block_steps
        if self.block is None or self.block[0] != first:
            size = self.cell.training.batch_size
            places = torch.arange(first * size, (first + self.block_steps) * size)
            indices = self._indices(places).to(self.device)
            self.block = (first, self._made("train", indices))
        size = self.cell.training.batch_size
        start = (step - first) * size
        return self.block[1].rows(start, start + size)

    def _made(self, split: str, indices: torch.Tensor) -> Batch:
        """Examples with what is asked of them: found for a block at once, as a GPU has to stop.

        A recorded graph has one shape: there it is all positions where examples differ in number.
        """
        batch = self.task.batch(self.data_seed, split, indices)
        if self.task.shape.pooled:
            return batch
        return batch.asked(even=self.cell.compute.cuda_graphs)

    def _indices(self, places: torch.Tensor) -> torch.Tensor:
        total = self.cell.training.examples
        if total is None:
            return places
        epochs = places // total
        needed = range(int(epochs[0]), int(epochs[-1]) + 1)
        self.orders = {
            e: self.orders[e] if e in self.orders else epoch_order(total, self.order_seed, e)
            for e in needed
        }
        table = torch.stack([self.orders[e] for e in needed])
        return table[epochs - needed[0], places % total]

    def validation(self) -> list[Batch]:
        """The validation set in batches."""
        total = self.cell.validation.examples
        indices = torch.arange(total, device=self.device)
        whole = self._made("validation", indices)
        size = max(self.cell.training.batch_size, 128)
        return [whole.rows(i, min(i + size, total)) for i in range(0, total, size)]
