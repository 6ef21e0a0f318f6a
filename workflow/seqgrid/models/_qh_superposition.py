"""Branches of a circuit whose states are added before they are measured.

    phi    = F(theta_0) RY(pi tanh(a)) |0>
    psi_1  = RY(D v) F(theta_1; D) phi         D = sigmoid(d), v = pi tanh(b)
    psi_2  = RY(D v) R(theta_2; D) phi
    psi_3  = F(theta_3) phi
    psi    = sum_i w_i psi_i / |sum_i w_i psi_i|        w_i complex, trained, shared by all chunks
    measured = <X>, <Y>, <Z> of every qubit in psi

F are layers of rotations and two rings of CRX (`ansatz.rings`), F(theta; D) the same with the
angles of its rotations times D and those of its rings as they are; R is F from the last qubit on.

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumE2E_Superposition.py,
QuantumE2ESuperpositionCore. All branches are one circuit here: R is F on qubits in reverse order,
and psi_3 is psi_1 with D = 1 where it scales and v = 0. phi is made once for the three branches.
The original divides w by its length first, which the division of psi undoes: the common size and
phase of the w_i have no effect, of six numbers four have one.

B batch, K chunks, H heads (sets of parameters), n qubits, S layers.
"""

import torch
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._pooled import CircuitUse
from seqgrid.models._qh_end_to_end import EndToEnd
from seqgrid.quantum import pauli_expectations, run
from seqgrid.quantum.ansatz import embedding, rings
from seqgrid.settings import QuantumHydraSettings

NUM_BRANCHES = 3
TINY = 1e-9  # added to the length of psi, which interference can make 0; that of the original


class SuperposedEndToEnd(EndToEnd):
    """Three branches a chunk, added as states.

    Args:
        settings: width and dropout.
        shape: what goes in and what comes out.
        chunk_size: positions in a chunk.
        num_qubits: of each circuit.
        num_layers: of each F and R.
        heads: sets of theta and w, each with a psi of its own; they share a, d and b.
        positions: whether positions are added to what the convolution makes.
    """

    def __init__(
        self,
        settings: QuantumHydraSettings,
        shape: Shape,
        *,
        chunk_size: int,
        num_qubits: int,
        num_layers: int,
        heads: int,
        positions: bool,
    ):
        n = num_qubits
        layers = rings(n, num_layers)
        parts = (n, n, 1, heads * (1 + NUM_BRANCHES) * layers.num_angles)
        super().__init__(
            settings,
            shape,
            chunk_size=chunk_size,
            num_angles=sum(parts),
            num_measured=heads * 3 * n,
            positions=positions,
        )
        self.parts = parts
        self.num_qubits, self.num_layers, self.heads = num_qubits, num_layers, heads
        self.features = embedding(n).then(layers)
        self.mixing = layers.then(embedding(n))
        equal = torch.tensor([NUM_BRANCHES**-0.5, 0.0]).repeat(heads, NUM_BRANCHES, 1)
        self.weights = nn.Parameter(equal)  # (H, 3, 2): real and imaginary parts of w

    def measured(self, angles: Tensor) -> Tensor:
        """Expectations of each head, (B, K, 3 n H); angles (B, K, 2 n + 1 + parameters)."""
        encoded, injected, step, parameters = angles.split(self.parts, -1)
        encoded, injected = torch.pi * encoded.tanh(), torch.pi * injected.tanh()
        parameters = parameters.unflatten(-1, (self.heads, 1 + NUM_BRANCHES, -1))
        encoded = encoded[..., None, :].expand(*parameters.shape[:-2], -1)
        phi = run(self.features, torch.cat((encoded, parameters[..., 0, :]), -1))  # (B, K, H, 2^n)
        branches = run(
            self.mixing,
            self._mixing_angles(parameters[..., 1:, :], injected, step.sigmoid()),
            torch.stack((phi, mirrored(phi), phi), -2),
        )
        return pauli_expectations(superposed(branches, self.weights)).flatten(-2)

    def _mixing_angles(self, parameters: Tensor, injected: Tensor, step: Tensor) -> Tensor:
        """Angles of all branches, (B, K, H, 3, P + n).

        Args:
            parameters: theta_1 to theta_3, (B, K, H, 3, P).
            injected: v, (B, K, n).
            step: D, (B, K, 1).
        """
        n = self.num_qubits
        scale = torch.stack((step, step, torch.ones_like(step)), -2)[..., None, :, :]
        layers = parameters.unflatten(-1, (self.num_layers, 5 * n))
        rotations, entangling = layers.split((3 * n, 2 * n), -1)
        layers = torch.cat((rotations * scale[..., None], entangling), -1).flatten(-2)
        v = step * injected
        v = torch.stack((v, v.flip(-1), torch.zeros_like(v)), -2)[..., None, :, :]
        return torch.cat((layers, v.expand(*layers.shape[:-1], n)), -1)

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """Each branch of a chunk from |0>; how their states are added is no part of a circuit."""
        runs = self.heads * self.num_chunks(seqlen)
        last = rings(self.num_qubits, self.num_layers)
        return (
            CircuitUse(self.features.then(self.mixing), 2 * runs),  # R has the gates of F
            CircuitUse(self.features.then(last), runs),
        )


def superposed(branches: Tensor, weights: Tensor) -> Tensor:
    """Psi of each head, (B, K, H, 2^n).

    Args:
        branches: states (B, K, H, 3, 2^n), the second with its qubits in reverse order.
        weights: w, (H, 3, 2), real and imaginary parts.
    """
    forward, backward, diagonal = branches.unbind(-2)
    w = torch.view_as_complex(weights)[..., None]  # (H, 3, 1)
    psi = w[:, 0] * forward + w[:, 1] * mirrored(backward) + w[:, 2] * diagonal
    return psi / (torch.linalg.vector_norm(psi, dim=-1, keepdim=True) + TINY)


def mirrored(state: Tensor) -> Tensor:
    """States with their qubits in reverse order, (..., 2^n)."""
    n = state.shape[-1].bit_length() - 1
    split = state.unflatten(-1, (2,) * n)
    batch = split.dim() - n
    return split.permute(*range(batch), *reversed(range(batch, split.dim()))).flatten(batch)
