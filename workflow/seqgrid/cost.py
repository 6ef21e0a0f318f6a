"""`python -m seqgrid.cost MODEL`: what a model costs, counted, and measured where this runs.

    python -m seqgrid.cost gru --settings d_model=128 num_layers=4 --task mqar --lengths 64,1024

Sizes and FLOPs are those of the study's tables. Tokens a second are measured here and now, over
forward and backward of whole batches: the best of a few, to compare on one machine alone. Of a
quantum model a second table has its circuits, counted as seqgrid/quantum/cost.py says.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from seqgrid import registry, sizing
from seqgrid.cell import Compute
from seqgrid.job import WRONG_CALL, say
from seqgrid.report.markdown import blocks, count, size, table
from seqgrid.study_file import Loader, explain, unknown

if TYPE_CHECKING:
    from seqgrid.quantum.cost import CircuitCost

REPEATS, LEAST_SECONDS = 3, 0.3  # of a measurement, after one pass to warm up
# Of circuits: their cost, in the order of CircuitCost, all of one sequence but the last.
CIRCUITS = ["length", "qubits", "depth", "gates", "circuits", "simulated FLOPs", "circuits/s"]
COUNTED = " Gates, circuits and simulated FLOPs, forward and gate by gate, are those of a sequence."
# Component -> what its parameters are called.
COMPONENTS = {
    "embedding": ("embed.", "positions."),
    "mixers": (".mixer.",),
    "MLPs": (".mlp.",),
    "norms": (".mixer_norm.", ".mlp_norm.", "norm."),
    "head": ("head.",),
}


class WrongCall(Exception):
    """An argument that means nothing; the message is one line."""


@dataclass(frozen=True)
class Card:
    """What a model costs on a task at one length.

    state_bytes: recurrent state or cache of one sequence after `seqlen` tokens, in float32.
    flops_per_token: forward, 2 a multiply-add, as the mean over the sequence; without circuits.
    circuits: of one sequence; None for a model without any.
    """

    seqlen: int
    parameters: dict[str, int]
    state_bytes: int
    flops_per_token: float
    circuits: "CircuitCost | None" = None

    @property
    def total(self) -> int:
        """Trained numbers of all components."""
        return sum(self.parameters.values())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, got {text!r}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m seqgrid.cost", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="a file name in models/, without .py")
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE", help="of it")
    parser.add_argument("--task", help="what it would be trained on; mqar, or selective_copy")
    parser.add_argument("--task-settings", nargs="*", default=[], metavar="KEY=VALUE", help="of it")
    parser.add_argument("--compute", nargs="*", default=[], metavar="KEY=VALUE", help="as a study")
    parser.add_argument("--lengths", default="64,256,1024", help="sequence lengths, tokens")
    parser.add_argument("--batch", type=_positive, default=32, help="examples a measured batch has")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(page(options) + "\n")
    except (WrongCall, registry.RegistryError) as error:
        say(str(error))
        return WRONG_CALL
    return 0


def page(options: argparse.Namespace) -> str:
    """The card of a command line as text.

    Raises:
        WrongCall: an argument is wrong.
    """
    kinds: tuple[tuple[registry.Kind, str | None], ...] = (
        ("model", options.model),
        ("task", options.task),
    )
    for kind, name in kinds:
        if name is not None and name not in registry.names(kind):
            raise WrongCall(f"{kind}: {unknown(name, registry.names(kind), f'a {kind}')}")
    if options.task is None:
        pooled = registry.settings("model", options.model).pooled_only
        options.task = "selective_copy" if pooled else "mqar"
    settings = _read(options.settings, registry.settings("model", options.model), "--settings")
    asked = _read(options.task_settings, registry.settings("task", options.task), "--task-settings")
    chosen = _read(options.compute, Compute, "--compute")
    lengths = _lengths(options.lengths)
    if settings.pooled_only and not asked.pooled:
        raise WrongCall(
            f"--task: {options.model} gives one answer a sequence and {options.task} asks at "
            f"positions; choose one that does not, such as selective_copy"
        )
    for seqlen in lengths:
        if reason := asked.impossible(seqlen):
            raise WrongCall(f"--lengths: {options.task} does not exist at {seqlen}: {reason}")
        if reason := settings.unable(seqlen):
            raise WrongCall(f"--lengths: {options.model} cannot read {seqlen} tokens: {reason}")
    cards, rows, circuits, words = [], [], [], ""
    for seqlen in lengths:
        task = registry.make_task(options.task, asked.model_dump(), seqlen)
        cards.append(card(options.model, settings.model_dump(), task.shape))
        speed, words = measured(options.model, settings, task, chosen, options.batch)
        rows.append(
            [
                str(seqlen),
                count(cards[-1].total),
                size(cards[-1].state_bytes),
                count(cards[-1].flops_per_token),
                count(speed),
            ]
        )
        if found := cards[-1].circuits:
            per_second = found.circuits_per_example * speed / seqlen
            circuits.append([str(seqlen), *map(count, [*vars(found).values(), per_second])])
    differing = settings.model_dump(exclude_defaults=True)
    named = " ".join(f"{key}={value}" for key, value in differing.items())
    title = f"{' '.join(filter(None, [options.model, named]))} on {options.task}"
    parts = [[name, count(number)] for name, number in cards[0].parameters.items()]
    head = ["length", "parameters", "state", "FLOPs/token", "tokens/s"]
    return blocks(
        title,
        table(["component", f"parameters at {lengths[0]}"], parts),
        table(head, rows, left=0),
        table(CIRCUITS, circuits, left=0) if circuits else "",
        f"{words}{COUNTED if circuits else ''}",
    )


def card(model: str, settings: dict[str, Any], shape: Any) -> Card:
    """What a model costs, counted; nothing runs."""
    from seqgrid.quantum.cost import of_model

    made = sizing.counted(model, settings, shape)
    parameters: dict[str, int] = defaultdict(int)
    backbone = not registry.settings("model", model).pooled_only
    for name, value in made.named_parameters():
        if value.requires_grad:
            parameters[_component(name) if backbone else name.partition(".")[0]] += value.numel()
    order = [*COMPONENTS, "others"] if backbone else [*parameters]
    ordered = {name: parameters[name] for name in order if parameters[name]}
    seqlen = shape.seqlen
    flops = float(made.flops_per_token(seqlen))
    return Card(seqlen, ordered, made.state_bytes(seqlen), flops, of_model(made, seqlen))


def kv_cache_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int = 1, bytes_per_element: int = 2
) -> int:
    """Bytes of the keys and values that attention keeps of one sequence.

    2 x layers x kv_heads x head_dim x tokens x bytes_per_element (Pope et al. 2023,
    arXiv:2211.05102, section 2). With grouped queries (Ainslie et al. 2023, arXiv:2305.13245)
    kv_heads is the number of key and value heads, not that of queries.
    """
    return 2 * layers * kv_heads * head_dim * tokens * bytes_per_element


def _component(name: str) -> str:
    """Of a model on the backbone; of others the parts are those that the model has itself."""
    for component, marks in COMPONENTS.items():
        if any(mark in name if mark.startswith(".") else name.startswith(mark) for mark in marks):
            return component
    return "others"


def measured(
    model: str, settings: BaseModel, task: Any, chosen: Compute, batch_size: int
) -> tuple[float, str]:
    """Tokens a second of forward and backward, and in words what was measured.

    Raises:
        WrongCall: it cannot run here.
    """
    import torch

    from seqgrid import compute, loop, optimiser
    from seqgrid.kernels import MissingKernel

    device = loop.device()
    batch = task.batch(0, "train", torch.arange(batch_size)).to(device)
    torch.manual_seed(0)
    made = registry.make_model(model, settings.model_dump(), task.shape).to(device)
    try:
        with compute.applied(chosen, device):
            backend = ", ".join(f"{name}: {what}" for name, what in made.backend.items())
            compute.prepare(made, chosen, device)
            made.train()
            best = _fastest(lambda: optimiser.backward(made, batch, task.loss, 1), device)
    except (compute.Unfit, MissingKernel) as error:
        raise WrongCall(str(error)) from error
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(torch)
    words = (
        f"Tokens/s: forward and backward, batches of {batch_size}, {chosen.precision}, on {on}, "
        f"best of {REPEATS}; {backend or 'no operator'}."
    )
    return batch_size * task.seqlen / best, words


def _cpu(torch: Any) -> str:
    threads = torch.get_num_threads()
    return f"a CPU with {threads} thread{'s' * (threads != 1)}"


def _fastest(run: Any, device: Any) -> float:
    """Seconds of one call, the best of a few measurements of several calls."""
    import torch

    def timed(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / calls

    once = min(timed(1), timed(1))
    return min(timed(max(1, round(LEAST_SECONDS / once))) for _ in range(REPEATS))


def _read(words: Sequence[str], record: type[Any], option: str) -> Any:
    """Settings of a record from KEY=VALUE, each value as in a study's file."""
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise WrongCall(f"{option}: '{word}' is not KEY=VALUE, such as d_model=128")
        if key in values:
            raise WrongCall(f"{option}: {key} stands there twice")
        try:
            values[key] = yaml.load(text, Loader=Loader)
        except yaml.YAMLError as error:
            raise WrongCall(f"{option}: {key}: {' '.join(str(error).split())}") from error
    try:
        return record.model_validate(values)
    except ValidationError as error:

        def place(location: list) -> str:
            return ": ".join([option, *filter(None, [".".join(map(str, location))])])

        raise WrongCall("; ".join(explain(error, record, place))) from error


def _lengths(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise WrongCall(f"--lengths: '{text}' is not a list of lengths, such as 256,1024")
    return found


if __name__ == "__main__":
    sys.exit(main())
