"""What models share: everything but the mixer, so that a comparison compares mixers.

    x = embed(inputs) [+ positions]
    x = x + mixer(norm(x));  x = x + mlp(norm(x))        each layer
    outputs = head(norm(x))

Pre-norm residual blocks with RMSNorm (Zhang & Sennrich, arXiv:1910.07467). The MLP is two matrices
with a GELU between: its hidden width is what `mlp_ratio` says, and it has no products of
activations that would lend every mixer a gate of its own.

B batch, L sequence length, C input channels, D d_model.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.kernels import Operator
from seqgrid.models._layers import MLP, RMSNorm
from seqgrid.settings import BackboneSettings

NORM_EPS = 1e-6  # far below 4e-4, the mean square of an embedding with std 0.02


class Mixer(nn.Module, ABC):
    """What moves information between positions: (B, L, D) -> (B, L, D).

    Attributes:
        causal: position t reads no position after t.
        carries: `forward` takes the keyword `carried`, a dict that all layers of one pass share.
        operators: what it runs on, in the order it runs.
        residual_weights: names of the linear layers that write into the residual stream.
    """

    causal: bool = True
    carries: bool = False
    operators: tuple[Operator, ...] = ()
    residual_weights: tuple[str, ...] = ("o_proj",)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Mixed positions; x (B, L, D) -> (B, L, D).

        A mixer that is not causal takes `lengths` too, (B,) int64 or None: positions from there on
        are padding that no earlier position may read.
        """

    @abstractmethod
    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Recurrent state or cache of one sequence after `seqlen` tokens, bytes."""

    @abstractmethod
    def flops_per_token(self, seqlen: int) -> float:
        """Forward FLOPs a token, 2 a multiply-add, as the mean over `seqlen` tokens.

        Counts matrix products of the recurrent or textbook form, whatever the implementation
        does, and leaves out pointwise work.
        """

    @property
    def backend(self) -> dict[str, str]:
        """Operator -> the implementation it runs on, where the parameters are now.

        Raises:
            MissingKernel: its fused kernel is not installed.
        """
        device = next(self.parameters()).device
        return {operator.name: operator.backend(device) for operator in self.operators}

    def initialise(self, std: float, residual_std: float) -> None:
        """Normal linear layers with zero biases; other parameters keep what they were made with.

        A mixer whose linear layers need another start overrides this.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                _normal(module, residual_std if name in self.residual_weights else std)


class Block(nn.Module):
    """One layer: mixer and MLP, each behind a norm and added to its input."""

    def __init__(self, settings: BackboneSettings, mixer: Mixer):
        super().__init__()
        d_model = settings.d_model
        hidden_dim = max(1, round(settings.mlp_ratio * d_model)) if settings.mlp_ratio else 0
        self.mixer_norm = RMSNorm(d_model, eps=NORM_EPS)
        self.mixer = mixer
        self.mlp_norm = RMSNorm(d_model, eps=NORM_EPS) if hidden_dim else None
        self.mlp = MLP(d_model, hidden_dim) if hidden_dim else None
        self.dropout = nn.Dropout(settings.dropout)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        carried: dict[str, Tensor] | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """One layer further; x (B, L, D) -> (B, L, D), or (B, K, D) at positions (B, K)."""
        more: dict[str, Any] = {}
        if not self.mixer.causal and lengths is not None:
            more["lengths"] = lengths
        if self.mixer.carries:
            more["carried"] = {} if carried is None else carried
        mixed = self.mixer(self.mixer_norm(x), **more)
        if positions is not None:
            x, mixed = _at(x, positions), _at(mixed, positions)
        x = x + self.dropout(mixed)
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return x


class Backbone(nn.Module):
    """Embedding, layers of mixer and MLP, head: the whole model around any mixer.

    Args:
        settings: widths, depth, dropout, initial values.
        shape: what goes in and what comes out.
        make_mixer: layer index -> that layer's mixer.
        positions: adds positions to the embedded input, (B, L, D) -> (B, L, D).
    """

    def __init__(
        self,
        settings: BackboneSettings,
        shape: Shape,
        make_mixer: Callable[[int], Mixer],
        positions: nn.Module | None = None,
    ):
        super().__init__()
        self.settings, self.shape = settings, shape
        d_model = settings.d_model
        self.embed: nn.Embedding | nn.Linear
        if shape.vocab_size is not None and shape.num_channels is None:
            self.embed = nn.Embedding(shape.vocab_size, d_model)
        elif shape.num_channels is not None and shape.vocab_size is None:
            self.embed = nn.Linear(shape.num_channels, d_model)
        else:
            raise ValueError(f"set one of vocab_size and num_channels of the shape: {shape}")
        self.positions = positions
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(
            Block(settings, make_mixer(layer)) for layer in range(settings.num_layers)
        )
        self.norm = RMSNorm(d_model, eps=NORM_EPS)
        self.head = nn.Linear(d_model, shape.num_outputs * (shape.slots or 1))
        self.initialise()

    def initialise(self) -> None:
        """Initial values, from torch's global generator."""
        std = residual_std = self.settings.linear_std
        if self.settings.rescale_prenorm_residual:
            # the stream sums 2 num_layers branches: Radford et al. 2019 (GPT-2), section 2.3
            residual_std = std / math.sqrt(2 * self.settings.num_layers)
        chosen = self.settings.embedding_std
        embedding_std = std if chosen is None else chosen
        _normal(self.embed, embedding_std)
        if isinstance(self.embed, nn.Linear):
            # the first norm divides by the length of w x + b: with b = 0 only the direction of x
            # would pass, for one channel its sign, and no mixer could read a value
            nn.init.normal_(self.embed.bias, std=embedding_std)
        for module in self.positions.modules() if self.positions is not None else ():
            if isinstance(module, nn.Embedding):
                _normal(module, embedding_std)
        for block in self._layers:
            block.mixer.initialise(std, residual_std)
            if block.mlp is not None:
                _normal(block.mlp.up_proj, std)
                _normal(block.mlp.down_proj, residual_std)
        _normal(self.head, std)

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Outputs of a batch.

        Args:
            inputs: int64 tokens (B, L), or float32 channels (B, L, C).
            lengths: (B,) int64, how many leading positions are each example's own; None: all.
            positions: (B, K) int64, those to answer at; None: all. A pooled model has no say.

        Returns:
            (B, L, num_outputs), or (B, K, num_outputs); where the shape is pooled
            (B, num_outputs), or (B, slots, num_outputs).
        """
        if self.shape.pooled:
            positions = self._read(inputs, lengths)
        x = self.embed(inputs)
        if self.positions is not None:
            x = self.positions(x)
        x = self.dropout(x)
        carried: dict[str, Tensor] = {}
        # what follows the last mixer works on each position by itself
        for layer, block in enumerate(self._layers, 1):
            x = block(x, lengths, carried, positions if layer == len(self.blocks) else None)
        if not self.shape.pooled:
            return self.head(self.norm(x))
        outputs = self.head(self._pooled(x, lengths))
        return outputs if self.shape.slots is None else outputs.unflatten(1, (self.shape.slots, -1))

    def _read(self, inputs: Tensor, lengths: Tensor | None) -> Tensor | None:
        """The only positions that a pooled head reads, (B, 1); None: all."""
        if self.settings.pool == "mean":
            return None
        if lengths is None:
            return torch.full((len(inputs), 1), inputs.shape[1] - 1, device=inputs.device)
        return lengths[:, None] - 1

    def _pooled(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """What a pooled head reads, (B, D): the last position of each example, or their mean."""
        if self.settings.pool == "last":
            return self.norm(x[:, 0])
        x = self.norm(x)
        if lengths is None:
            return x.mean(1)
        own = torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, L)
        return (x * own[..., None]).sum(1) / lengths[:, None]

    @property
    def _layers(self) -> list[Block]:
        """What `blocks` holds; torch's ModuleList forgets the type."""
        return cast(list[Block], list(self.blocks))

    @property
    def mixers(self) -> list[Mixer]:
        """The mixer of each layer."""
        return [block.mixer for block in self._layers]

    @property
    def causal(self) -> bool:
        """No position's output depends on a later input; of outputs that are not pooled."""
        return all(mixer.causal for mixer in self.mixers)

    @property
    def max_seqlen(self) -> int | None:
        """Tokens in the longest sequence the model can read; None where there is no limit."""
        return getattr(self.positions, "max_seqlen", None)

    @property
    def num_parameters(self) -> int:
        """Trained numbers, embedding and head included."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def backend(self) -> dict[str, str]:
        """Operator -> the implementation it runs on, over all layers."""
        return {name: what for mixer in self.mixers for name, what in mixer.backend.items()}

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """What one sequence keeps in memory between tokens after `seqlen` of them, bytes."""
        return sum(mixer.state_bytes(seqlen, bytes_per_element) for mixer in self.mixers)

    def flops_per_token(self, seqlen: int) -> float:
        """Forward FLOPs a token, 2 a multiply-add, as the mean over `seqlen` tokens."""
        head_share = 1 / seqlen if self.shape.pooled else 1.0  # a pooled head runs once
        flops = 2 * self.head.weight.numel() * head_share
        if isinstance(self.embed, nn.Linear):
            flops += 2 * self.embed.weight.numel()
        for layer, block in enumerate(self._layers, 1):
            flops += block.mixer.flops_per_token(seqlen)
            if block.mlp is not None:
                last_read = layer == len(self.blocks) and self.settings.pool == "last"
                share = head_share if last_read else 1.0
                flops += 2 * sum(p.numel() for p in block.mlp.parameters()) * share
        return flops


def linear_flops(*layers: nn.Linear) -> float:
    """FLOPs of linear layers for one token."""
    return 2.0 * sum(layer.weight.numel() for layer in layers)


def _at(x: Tensor, positions: Tensor) -> Tensor:
    """Some positions of each example, (B, K, D); x (B, L, D), positions (B, K) int64."""
    B, L, _ = x.shape
    rows = positions + L * torch.arange(B, device=x.device)[:, None]
    # whole rows: half the time of gather, forward and backward, where many are asked
    return x.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, positions.shape)


@torch.no_grad()
def _normal(module: nn.Linear | nn.Embedding, std: float) -> None:
    nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
