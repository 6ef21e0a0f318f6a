"""States that hold data. Angles of rotations are a circuit's: `ansatz.embedding`.

Source: Schuld and Petruccione, Machine Learning with Quantum Computers, section 4.2.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad


def amplitude(features: Tensor, num_qubits: int) -> Tensor:
    """Features as amplitudes, padded with zeros and divided by their norm.

    Args:
        features: (..., F), real or complex, F at most 2^n; half precision is computed in float32.
        num_qubits: n.

    Returns:
        (..., 2^n) complex.

    Raises:
        ValueError: there are more features than amplitudes, or a vector is zero.
    """
    missing = 2**num_qubits - features.shape[-1]
    if missing < 0:
        raise ValueError(
            f"{features.shape[-1]} features are more than the {2**num_qubits} amplitudes of "
            f"{num_qubits} qubits: give more qubits or fewer features"
        )
    if not features.is_complex() or features.dtype == torch.complex32:
        wide = torch.promote_types(features.dtype, torch.float32)
        features = features.to(wide.to_complex())
    norm = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    if not norm.all():
        raise ValueError("a vector of zeros is no state: give it a feature that is not zero")
    return pad(features / norm, (0, missing))


def product(wires: Tensor) -> Tensor:
    """The state of wires that know nothing of each other.

    Args:
        wires: amplitudes of 0 and 1 on each wire, (..., n, 2).

    Returns:
        (..., 2^n), of the same dtype.
    """
    state = wires.new_ones(*wires.shape[:-2], 1)
    for wire in wires.unbind(-2):
        state = (state[..., :, None] * wire[..., None, :]).flatten(-2)
    return state
