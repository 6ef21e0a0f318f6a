"""Chunks mixed by a recurrence through measured circuits, as in models 2b and 2c of quantum_hydra.

    s_k = dropout(mean of a chunk's x = dropout(W input), weights softmax(w2 tanh(W1 x)))
    s = s + mix(s)                                                            each layer
    answer = W2 dropout(relu(W1 mean over k of LayerNorm(s_k)))

and the mixing is made of

    d_k = sigmoid(mean of softplus(W_d W_x s_k)),    u_k = pi tanh(W_u s_k)
    q_k = <X, Y, Z of every wire> of RY(d_k u_k) V(phi, d_k) RY(h_{k-1}) |0...0>
    h_k = pi tanh(<Z> of q_k),    y_k = W_o (W_q q_k + D s_k)

where V is `rings` whose rotations, but not their CRX, are multiplied by d_k; phi is trained and the
same for all k. What passes from chunk to chunk are the n numbers h: each chunk begins a circuit of
its own, so no quantum state is carried. As softplus is positive, d lies between 1/2 and 1: nothing
is ever forgotten or skipped by it. Within a chunk order is unknown.

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumMixingSSM.py, QuantumSSMCore. W_x there gives
the B and C of a state space model too, 2 d_state d_model numbers that nothing reads: they are left
out, and d_state with them.

B batch, L length, K chunks, D d_model, n qubits, P angles behind the first embedding.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from seqgrid.data import Shape
from seqgrid.models._base import linear_flops
from seqgrid.models._pooled import AttentionPool, PooledModel, chunks, linear_layers
from seqgrid.models._ssm import step_bias
from seqgrid.ops.dropout import Dropout
from seqgrid.quantum import run_expectations
from seqgrid.quantum.ansatz import embedding, rings
from seqgrid.quantum.circuit import Circuit
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings


class Core(nn.Module):
    """What a recurrence reads of the chunks, and what it adds to them."""

    def __init__(self, d_model: int, num_qubits: int, num_layers: int):
        super().__init__()
        rank, n = d_model // 16, num_qubits
        self.x_proj = nn.Linear(d_model, rank, bias=False)
        self.dt_proj = nn.Linear(rank, d_model)
        with torch.no_grad():
            self.dt_proj.bias.copy_(step_bias(d_model, 0.001, 0.1, 0.0))
        self.circuit_params = nn.Parameter(0.1 * torch.randn(5 * n * num_layers))
        self.quantum_input_proj = nn.Linear(d_model, n)
        self.quantum_output_proj = nn.Linear(3 * n, d_model)
        self.D = nn.Parameter(torch.ones(d_model))
        self.out_proj = nn.Linear(d_model, d_model)
        rotation = torch.arange(5 * n) < 3 * n  # of a layer's angles
        self.modulated: Tensor
        self.register_buffer("modulated", rotation.repeat(num_layers), persistent=False)

    def angles(self, x: Tensor) -> Tensor:
        """All angles of the circuits but those of h, radians; chunks (B, K, D) -> (B, K, P)."""
        step = softplus(self.dt_proj(self.x_proj(x))).mean(-1, keepdim=True).sigmoid()
        variational = self.circuit_params * torch.where(self.modulated, step, 1.0)
        inputs = self.quantum_input_proj(x).tanh() * math.pi * step
        angles = torch.cat((variational, inputs), -1)
        # half precision would end in states that are not of norm 1
        return angles.to(torch.promote_types(angles.dtype, torch.float32))

    def output(self, measured: Tensor, x: Tensor) -> Tensor:
        """y, (B, K, D), of what was measured (B, K, 3 n) and the chunks (B, K, D)."""
        return self.out_proj(self.quantum_output_proj(measured) + self.D * x)


def recurrent_circuit(num_qubits: int, num_layers: int) -> Circuit:
    """RY(u) V RY(h), which takes the angles h first."""
    return embedding(num_qubits).then(rings(num_qubits, num_layers)).then(embedding(num_qubits))


def recur(circuit: Circuit, h: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """What is measured of each chunk and the last h.

    Args:
        circuit: `recurrent_circuit`.
        h: (..., n), the angles before the first chunk.
        angles: (..., K, P).

    Returns:
        (..., K, 3 n) and (..., n).
    """
    measured = []
    for chunk in angles.unbind(-2):
        measured.append(run_expectations(circuit, torch.cat((h, chunk), -1)))
        h = measured[-1][..., -circuit.num_qubits :].tanh() * math.pi
    return torch.stack(measured, -2), h


class ChunkMixer(PooledModel):
    """A model of chunks that layers mix; a subclass defines `layers` and `mixed`."""

    operators = (simulate,)
    layers: nn.ModuleList

    def __init__(self, settings: QuantumHydraSettings, shape: Shape, chunk_size: int):
        super().__init__(settings, shape)
        d_model = settings.d_model
        self.chunk_size = chunk_size
        self.embed = self.input_layer(d_model)
        self.dropout = Dropout(settings.dropout)
        self.chunk_attention = AttentionPool(d_model, d_model // 2)
        self.norm = nn.LayerNorm(d_model)
        self.classifier = nn.Sequential(
            nn.Linear(d_model, d_model),
            nn.ReLU(),
            Dropout(settings.dropout),
            nn.Linear(d_model, self.num_targets),
        )

    def project(self, inputs: Tensor) -> Tensor:
        """What each position is by itself, (B, L, D)."""
        return self.dropout(self.embed(inputs))

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D)."""
        summary = self.dropout(self.chunk_attention(chunks(x, self.chunk_size)))
        return self.classifier(self.norm(self.mixed(summary)).mean(1))

    @abstractmethod
    def mixed(self, x: Tensor) -> Tensor:
        """Chunks behind all layers, (B, K, D); x (B, K, D)."""

    def num_chunks(self, seqlen: int) -> int:
        """Chunks of `seqlen` positions."""
        return -(-seqlen // self.chunk_size)

    def flops_per_token(self, seqlen: int) -> float:
        """Linear layers: of positions, of chunks, of the answer."""
        num_chunks = self.num_chunks(seqlen)
        flops = seqlen * linear_flops(*linear_layers(self.embed))
        flops += num_chunks * self.chunk_size * linear_flops(*linear_layers(self.chunk_attention))
        flops += num_chunks * linear_flops(*linear_layers(self.layers))
        return (flops + linear_flops(*linear_layers(self.classifier))) / seqlen
