"""Hyena: gates around convolutions as long as the sequence, whose filters a small network makes.

    x_0, ..., x_{N-1}, v = short convolution of W x + b           N = order, each (B, L, D)
    v <- filter_n * (v x_n) + bias_n v x_n                        n = N - 1, ..., 1
    y = W_o activation(v x_0) + b_o
    filter(t) = exp(-decay t) MLP([t, cos(2 pi f i / l_max), -sin(...)])     t = i / (l_max - 1)

Source: Poli et al., arXiv:2302.10866, definition 3.1 and section 3.3. Parameters and buffers are
those of safari's `HyenaOperator` with one head and one block; the defaults are those of its
associative recall at d_model 64. Unlike there the features of positions are fixed (there they may
train at a rate of their own), and a sequence longer than `l_max` is read to its end, with features
and decay continued (there its end is cut off). The learning rate of its own that safari gives to
filters is not kept; that they do not decay is. Initial values are those of its language model,
whose filters start near zero beside their bias; theirs do not follow `initializer_std`.

B batch, L length, D d_model.
"""

import math
from typing import ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.data import Shape
from seqgrid.models._base import Backbone, Mixer, linear_flops
from seqgrid.ops.fft_conv import fft_conv
from seqgrid.ops.short_conv import short_conv
from seqgrid.settings import BackboneSettings, Recipe

FILTER_STD = 0.02  # of safari's language model, whose sines are near linear with it


class Settings(BackboneSettings):
    """What Hyena adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.98,
        warmup_fraction=0.05,
        source="AdamW's betas, weight decay 0.1, warm-up in 10 of 200 epochs and a cosine: Poli et "
        "al., arXiv:2302.10866, table A.1, for 2 layers of width 64 on recall, at a rate of 5e-4",
    )

    order: int = Field(2, ge=2, description="gates; one long convolution fewer")
    l_max: int | None = Field(
        None, ge=1, description="tokens that are time 1 of the filter; None: the training length"
    )
    filter_order: int = Field(64, ge=1, description="width of the network that makes the filters")
    num_inner_mlps: int = Field(2, ge=0, description="hidden layers of it besides the first")
    emb_dim: int = Field(5, ge=3, description="features of a position: time, cosines, sines; odd")
    w: float = Field(10.0, gt=0, description="initial frequency of its sine activations")
    short_filter_order: int = Field(3, ge=1, description="positions of the short convolution")
    modulate: bool = Field(True, description="whether filters decay exponentially")
    fast_decay_pct: float = Field(
        0.3, gt=0, description="time at which the fastest filter has decayed to target"
    )
    slow_decay_pct: float = Field(1.5, gt=0, description="and the slowest; time 1 is l_max tokens")
    target: float = Field(1e-2, gt=0, lt=1, description="what counts as decayed")
    shift: float = Field(0.0, ge=0, description="what the decay leaves of a filter")
    normalized: bool = Field(
        False, description="magnitudes of all channels' filters sum to 1 at each position"
    )
    activation: Literal["id", "relu", "gelu", "silu", "tanh", "sigmoid"] = Field(
        "id", description="in front of the output layer"
    )

    @model_validator(mode="after")
    def _features_pair(self) -> Self:
        if self.emb_dim % 2 == 0:
            raise ValueError(
                f"emb_dim={self.emb_dim} is even; it is time and pairs of cosine and sine, such as "
                f"{self.emb_dim + 1}"
            )
        return self


class Sin(nn.Module):
    """sin(freq x) with a trained frequency a channel."""

    def __init__(self, dim: int, w: float):
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, dim), w))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape (..., dim)."""
        return torch.sin(self.freq * x)


class Features(nn.Module):
    """What the filter network knows of a position: time, and waves over l_max."""

    def __init__(self, emb_dim: int, l_max: int):
        super().__init__()
        self.emb_dim, self.l_max = emb_dim, l_max
        z, t = self._rows(0, l_max, torch.device("cpu"))
        self.register_buffer("z", z)  # (1, l_max, emb_dim)
        self.register_buffer("t", t)  # (1, l_max, 1)

    def forward(self, seqlen: int) -> tuple[Tensor, Tensor]:
        """Features (1, L, emb_dim) and times (1, L, 1) of the first `seqlen` positions."""
        z, t = cast(Tensor, self.z), cast(Tensor, self.t)
        if seqlen <= self.l_max:
            return z[:, :seqlen], t[:, :seqlen]
        more_z, more_t = self._rows(self.l_max, seqlen, z.device)
        return torch.cat([z, more_z.to(z)], 1), torch.cat([t, more_t.to(t)], 1)

    def _rows(self, first: int, last: int, device: torch.device) -> tuple[Tensor, Tensor]:
        positions = torch.arange(first, last, device=device, dtype=torch.float32)[None, :, None]
        t = positions / max(1, self.l_max - 1)
        bands = (self.emb_dim - 1) // 2
        angles = (2 * math.pi / self.l_max) * positions
        angles = angles * torch.linspace(1e-4, bands - 1, bands, device=device)
        return torch.cat([t, angles.cos(), -angles.sin()], -1), t


class Modulation(nn.Module):
    """Exponential decay of the filters, of one rate a channel."""

    def __init__(self, settings: Settings, dim: int):
        super().__init__()
        self.modulate, self.shift = settings.modulate, settings.shift
        slow, fast = (
            math.log(settings.target) / share
            for share in (settings.slow_decay_pct, settings.fast_decay_pct)
        )
        self.register_buffer("deltas", torch.linspace(slow, fast, dim)[None, None])

    def forward(self, t: Tensor, filters: Tensor) -> Tensor:
        """Decayed filters; t (1, L, 1), filters (1, L, dim) -> (1, L, dim)."""
        if not self.modulate:
            return filters
        return filters * (torch.exp(-t * cast(Tensor, self.deltas).abs()) + self.shift)


class Filter(nn.Module):
    """The network that makes the filters of all convolutions."""

    def __init__(self, settings: Settings, l_max: int):
        super().__init__()
        dim, width = settings.d_model * (settings.order - 1), settings.filter_order
        self.normalized = settings.normalized
        self.bias = nn.Parameter(torch.randn(dim))
        self.pos_emb = Features(settings.emb_dim, l_max)
        sine = Sin(width, settings.w)  # one for all layers, as in the library
        layers: list[nn.Module] = [nn.Linear(settings.emb_dim, width), sine]
        for _ in range(settings.num_inner_mlps):
            layers += [nn.Linear(width, width), sine]
        self.implicit_filter = nn.Sequential(*layers, nn.Linear(width, dim, bias=False))
        self.modulation = Modulation(settings, dim)
        for parameter in self.implicit_filter.parameters():
            parameter._no_weight_decay = True  # ty: ignore[missing-attribute]

    def forward(self, seqlen: int) -> Tensor:
        """Filters of the first `seqlen` positions (L, D (order - 1))."""
        z, t = self.pos_emb(seqlen)
        # in bfloat16 neighbouring positions would have the same features
        with torch.autocast(z.device.type, enabled=False):
            filters = self.modulation(t, self.implicit_filter(z)).squeeze(0)
            if self.normalized:
                filters = filters / filters.abs().sum(-1, keepdim=True)
        return filters


class HyenaMixer(Mixer):
    """Gates and long convolutions in turn."""

    operators = (short_conv, fft_conv)
    residual_weights = ("out_proj",)

    def __init__(self, settings: Settings):
        super().__init__()
        if settings.l_max is None:
            raise ValueError("l_max is open; set it to the training length in tokens")
        D, self.order = settings.d_model, settings.order
        self.settings, self.d_model = settings, D
        width = (self.order + 1) * D
        self.in_proj = nn.Linear(D, width)
        self.short_filter = nn.Conv1d(width, width, settings.short_filter_order, groups=width)
        self.filter_fn = Filter(settings, settings.l_max)
        self.out_proj = nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        """Gated convolutions; x (B, L, D) -> (B, L, D)."""
        L = x.shape[1]
        x = short_conv(self.in_proj(x), self.short_filter.weight, self.short_filter.bias)
        first, *gates, v = x.split(self.d_model, -1)
        filters = self.filter_fn(L).view(L, self.d_model, self.order - 1)
        biases = self.filter_fn.bias.view(self.d_model, self.order - 1)
        for n, gate in enumerate(reversed(gates)):
            v = fft_conv(v * gate, filters[..., n], biases[:, n])
        y = v * first
        if self.settings.activation != "id":
            y = getattr(F, self.settings.activation)(y)
        return self.out_proj(y)

    def initialise(self, std: float, residual_std: float) -> None:
        """As any mixer, but for the filters.

        Larger weights turn through many periods of the sines, whose frequency is 10, and the widths
        of that network have nothing to do with d_model, which `small` goes by.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                own = FILTER_STD if name.startswith("filter_fn.") else std
                nn.init.normal_(module.weight, std=residual_std if name == "out_proj" else own)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """All inputs of the long convolutions, and the positions the short one looks back on.

        Filters do not end: the next output reads every input, so that this grows with the length
        as a cache of keys and values does.
        """
        elements = (self.order - 1) * seqlen * self.d_model
        elements += (self.settings.short_filter_order - 1) * (self.order + 1) * self.d_model
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, the short convolution, and 5 log2 L a channel of a long one.

        That is the count of the paper's appendix A.2. The filters are made once a batch, which is
        left out.
        """
        flops = linear_flops(self.in_proj, self.out_proj)
        flops += 2 * self.short_filter.weight.numel()
        return flops + 2 * 5 * (self.order - 1) * self.d_model * math.log2(max(2, seqlen))


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer.

    Raises:
        ValueError: `l_max` is open.
    """
    return HyenaMixer(settings)


def build(settings: Settings, shape: Shape) -> Backbone:
    """The model for a problem of `shape`, whose length is `l_max` where that is open."""
    if settings.l_max is None:
        settings = settings.model_copy(update={"l_max": shape.seqlen})
    return Backbone(settings, shape, lambda layer: mixer(settings, layer))
