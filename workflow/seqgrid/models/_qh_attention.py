"""What models 1a and 3a of the quantum_hydra study share: a transformer encoder.

    x = x + p                               p sinusoidal positions
    x = x + W_o attention(norm(x))          every position reads every other, each layer
    x = x + W_out (silu(g) v)               g, v = W_in norm(x)
    y = mean_t norm(x_t)

Source: JHPark9090/Quantum-Hydra-Mamba, models/ClassicalTransformer.py and models/
QuantumTransformer.py, whose blocks are the same. Initial values are torch's.

Differs from the original: there the positions are a table of the trained length that is not
trained and that a longer sequence does not fit; here they are computed, for any length.

B batch, L length, D d_model, H heads.
"""

from torch import Tensor, nn
from torch.nn.functional import silu

from seqgrid.models._base import linear_flops
from seqgrid.models._layers import RMSNorm
from seqgrid.models._pooled import SinusoidalPositions, linear_layers
from seqgrid.ops.attention import attention
from seqgrid.ops.dropout import Dropout
from seqgrid.ops.dropped_attention import attention_with_dropout

NORM_EPS = 1e-5
EXPAND = 2  # hidden width of the gated MLP over d_model


class SelfAttention(nn.Module):
    """Multi-head attention without a mask, with biases, with dropout on the weights.

    A bias of k adds the same to all scores of a query, which a softmax ignores: its gradient is
    rounding. It is kept, as torch's own layer has it.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Attended values; x (B, L, D) -> (B, L, D)."""
        layers = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (layer(x).unflatten(-1, (self.num_heads, -1)) for layer in layers)
        if self.training and self.dropout:
            o = attention_with_dropout(q, k, v, self.dropout)
        else:
            o = attention(q, k, v, causal=False)
        return self.out_proj(o.flatten(-2))


class Block(nn.Module):
    """Attention and a gated MLP, each behind a norm and added to its input."""

    def __init__(self, d_model: int, num_heads: int, dropout: float):
        super().__init__()
        self.norm1 = RMSNorm(d_model, eps=NORM_EPS)
        self.norm2 = RMSNorm(d_model, eps=NORM_EPS)
        self.attention = SelfAttention(d_model, num_heads, dropout)
        self.in_proj = nn.Linear(d_model, 2 * EXPAND * d_model)
        self.out_proj = nn.Linear(EXPAND * d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """One layer further; x (B, L, D) -> (B, L, D)."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        gate, value = self.in_proj(self.norm2(x)).chunk(2, -1)
        return x + self.dropout(self.out_proj(silu(gate) * value))


class Encoder(nn.Module):
    """Positions, blocks, and the mean of what comes out; (B, L, D) -> (B, D)."""

    def __init__(self, d_model: int, num_layers: int, num_heads: int, dropout: float):
        super().__init__()
        self.d_model = d_model
        self.positions = SinusoidalPositions()
        self.layers = nn.Sequential(
            *(Block(d_model, num_heads, dropout) for _ in range(num_layers))
        )
        self.final_norm = RMSNorm(d_model, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """The mean over positions; x (B, L, D) -> (B, D)."""
        return self.final_norm(self.layers(self.positions(x))).mean(1)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Keys and values of every position in every layer, bytes."""
        return 2 * len(self.layers) * seqlen * self.d_model * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Linear layers, scores and sums over all positions, FLOPs."""
        scores = 2 * 2 * len(self.layers) * self.d_model * seqlen
        return linear_flops(*linear_layers(self.layers)) + scores
