"""Chunks of positions through quantum circuits, as in models 1b and 1c of quantum_hydra.

    m = sum_t a_t x_t,  a = softmax(w2 tanh(W1 x_t))                     each chunk, without order
    psi_k = rings(W_k m + b_k) RY(pi tanh(W m + b)) |0...0>              branches k = 1, 2, 3
    f_k = |c_k| / sqrt(|c|^2 + 1e-8) (<X>, <Y>, <Z> of each qubit of psi_k)
    feature = silu(LayerNorm(W_out (f_1, f_2, f_3) + b_out))

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumSSM.py, classes ChunkedQuantumProcessor and
QuantumSuperpositionBranches. It is called a superposition there, but states are never summed: the
magnitudes of three coefficients scale the features of three circuits. Imaginary parts of the
coefficients start at 0, where their gradient is 0, and so stay there: they are left out, three
numbers for each set of branches. The original's four linear layers from m are two here, and its
three circuits one call.

B batch, T positions of a chunk, D d_model, n qubits, P = n (1 + 5 layers) angles of a circuit.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from seqgrid.models._pooled import AttentionPool
from seqgrid.quantum import run_expectations
from seqgrid.quantum.ansatz import embedding, rings

EPSILON = 1e-8  # as in the original
BRANCHES = 3


class ChunkFeatures(nn.Module):
    """A feature vector of each chunk."""

    def __init__(self, d_model: int, num_qubits: int, num_layers: int):
        super().__init__()
        self.circuit = embedding(num_qubits).then(rings(num_qubits, num_layers))
        self.pool = AttentionPool(d_model, d_model // 2)
        self.input_proj = nn.Linear(d_model, num_qubits)
        self.angle_proj = nn.Linear(d_model, BRANCHES * (self.circuit.num_angles - num_qubits))
        self.coefficients = nn.Parameter(torch.rand(BRANCHES) * 0.5 + 0.25)
        self.out_proj = nn.Linear(BRANCHES * 3 * num_qubits, d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Features of chunks, (B, chunks, T, D) -> (B, chunks, D)."""
        return self.features(run_expectations(self.circuit, self.angles(x)))

    def angles(self, x: Tensor) -> Tensor:
        """Angles of the branches' circuits, radians; (B, chunks, T, D) -> (B, chunks, 3, P)."""
        pooled = self.pool(x)
        inputs = math.pi * self.input_proj(pooled).tanh()[..., None, :]  # of all branches
        others = self.angle_proj(pooled).unflatten(-1, (BRANCHES, -1))
        angles = torch.cat((inputs.expand(*others.shape[:-1], -1), others), -1)
        # half precision would end in states that are not of norm 1
        return angles.to(torch.promote_types(angles.dtype, torch.float32))

    def features(self, expectations: Tensor) -> Tensor:
        """Features of what was measured, (B, chunks, 3, 3 n) -> (B, chunks, D)."""
        c = self.coefficients.abs()
        c = c / (c.square().sum() + EPSILON).sqrt()
        return silu(self.norm(self.out_proj((c[:, None] * expectations).flatten(-2))))

    def flops(self, chunk_size: int) -> float:
        """FLOPs of the matrices for one chunk."""
        pool = [layer for layer in self.pool if isinstance(layer, nn.Linear)]
        once = (self.input_proj, self.angle_proj, self.out_proj)
        numbers = sum(layer.weight.numel() for layer in once)
        return 2.0 * (numbers + chunk_size * sum(layer.weight.numel() for layer in pool))
