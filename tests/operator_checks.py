"""What tests of operators share: running one with all its gradients, and comparing two runs."""

import torch


def run(operator, inputs, grads, dtype=torch.float64, **options):
    """Outputs and the gradient of every input, as float64; inputs by name, grads of outputs."""
    inputs = {name: x.to(dtype).requires_grad_() for name, x in inputs.items()}
    outputs = operator(**inputs, **options)
    found = torch.autograd.grad(outputs, list(inputs.values()), [g.to(dtype) for g in grads])
    names = ["o", "final_state", *(f"grad {name}" for name in inputs)]
    return {n: x.detach().double() for n, x in zip(names, [*outputs, *found], strict=True)}


def run_mixed(operator, inputs, grads, halves, **options):
    """As `run`, in float32 but for the inputs named in `halves`, and o, which are bfloat16."""

    def mixed(**single):
        o, state = operator(
            **{n: x.bfloat16() if n in halves else x for n, x in single.items()}, **options
        )
        assert o.dtype == torch.bfloat16
        return o.float(), state

    return run(mixed, inputs, grads, torch.float32)


def assert_close(found, expected, tolerance):
    """Every entry of two runs, relative to the largest number of the expected one, or to 1."""
    for name, x in expected.items():
        error = (found[name] - x).abs().max() / max(1.0, float(x.abs().max()))
        assert error < tolerance, f"{name}: {error:.1e}"
