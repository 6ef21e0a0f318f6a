"""Linear attention: attention without the softmax, by features of queries and keys.

    q, k = phi(W_q x), phi(W_k x)      v = W_v x
    S_t = S_{t-1} + k_t v_t^T          y_t = W_o norm(S_t^T q_t / sqrt(K))

Source: Katharopoulos et al., arXiv:2006.16236. Feature maps: hedgehog, arXiv:2402.04347; t2r,
arXiv:2103.13076; dpfp, arXiv:2102.11174, eq. 37-39, nu = 4; elu + 1, arXiv:2006.16236, eq. 7;
elementwise_product, two linear maps by element. Parameter names, shapes and settings are those of
the LinearAttention layer of flash-linear-attention, so weights move both ways.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head, F of features.
"""

import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import RMSNorm
from seqgrid.ops.linear_attention import linear_attention
from seqgrid.settings import BackboneSettings, Recipe

NU = 4


class Settings(BackboneSettings):
    """What linear attention adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        source="Linear attention with a Taylor feature map, Based, Arora et al., arXiv:2402.18668, "
        "was trained on recall by Zoology's code, at four rates from 1e-3 to 3.2e-2 "
        "(zoology/experiments/paper_configs/arxiv24_based_figure2/configs.py)",
    )

    num_heads: int = Field(4, ge=1, description="heads")
    num_kv_heads: int | None = Field(
        None, ge=1, description="heads of keys and values, each shared; None: num_heads"
    )
    expand_k: float = Field(1.0, gt=0, description="width of all keys over d_model")
    expand_v: float = Field(1.0, gt=0, description="width of all values over d_model")
    feature_map: Literal[
        "elementwise_product", "hedgehog", "t2r", "dpfp", "elu", "relu", "identity"
    ] = Field("elementwise_product", description="of queries and keys; elu is elu + 1")
    tie_feature_map_qk: bool = Field(False, description="one trained feature map for both")
    output_norm: Literal["rmsnorm", "identity"] = Field(
        "rmsnorm", description="of the output of each head"
    )
    norm_q: bool = Field(False, description="features of a query divided by their sum")
    norm_k: bool = Field(False, description="features of a key divided by their sum")
    do_feature_map_norm: bool = Field(
        False, description="the output divided by the query's product with the sum of keys"
    )
    elementwise_affine: bool = Field(True, description="weights of the output norm")
    norm_eps: float = Field(1e-5, gt=0, description="of the output norm")

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        for name, expand in (("expand_k", self.expand_k), ("expand_v", self.expand_v)):
            dim = self.d_model * expand
            if not math.isclose(dim, round(dim)) or round(dim) % self.num_heads or dim < 1:
                raise ValueError(
                    f"num_heads={self.num_heads} does not divide d_model * {name} = {dim:g}"
                )
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}"
            )
        trained = self.feature_map in ("elementwise_product", "hedgehog", "t2r")
        if self.tie_feature_map_qk and not trained:
            raise ValueError(
                f"feature_map={self.feature_map} has nothing to train: tie_feature_map_qk is for "
                "elementwise_product, hedgehog and t2r"
            )
        return self


class HadamardFeatureMap(nn.Module):
    """Product of two linear maps by element; (..., K) -> (..., K)."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.layer1 = nn.Linear(head_dim, head_dim)
        self.layer2 = nn.Linear(head_dim, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """X (..., K) -> (..., K)."""
        return self.layer1(x) * self.layer2(x)


class HedgehogFeatureMap(nn.Module):
    """Softmax over a linear map and its negative, which starts as the identity; K -> 2 K."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.layer = nn.Linear(head_dim, head_dim)
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """X (..., K) -> (..., 2 K)."""
        x = 2 * self.layer(x)
        return torch.cat([x, -x], -1).softmax(-1)


class T2RFeatureMap(nn.Module):
    """ReLU of a linear map; (..., K) -> (..., K)."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.layer = nn.Linear(head_dim, head_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """X (..., K) -> (..., K)."""
        return self.layer(x).relu()


TRAINED = {
    "elementwise_product": HadamardFeatureMap,
    "hedgehog": HedgehogFeatureMap,
    "t2r": T2RFeatureMap,
}


def dpfp(x: Tensor) -> Tensor:
    """Products of rectified channels NU apart and less; x (..., K) -> (..., 2 NU K)."""
    x = torch.cat([x.relu(), (-x).relu()], -1)
    return torch.cat([x * x.roll(j, -1) for j in range(1, NU + 1)], -1)


FIXED = {"dpfp": dpfp, "elu": lambda x: F.elu(x) + 1, "relu": F.relu, "identity": lambda x: x}


class LinearAttentionMixer(Mixer):
    """The layer of flash-linear-attention."""

    operators = (linear_attention,)

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        d_model, self.num_heads = settings.d_model, settings.num_heads
        self.groups = self.num_heads // (settings.num_kv_heads or self.num_heads)
        self.key_dim = round(d_model * settings.expand_k)
        self.value_dim = round(d_model * settings.expand_v)
        self.head_k_dim = self.key_dim // self.num_heads
        self.head_v_dim = self.value_dim // self.num_heads
        if settings.feature_map in TRAINED:
            feature_map = TRAINED[settings.feature_map]
            self.feature_map_q = feature_map(self.head_k_dim)
            tied = settings.tie_feature_map_qk
            self.feature_map_k = self.feature_map_q if tied else feature_map(self.head_k_dim)
        else:
            self.feature_map_q = self.feature_map_k = FIXED[settings.feature_map]
        self.q_proj = nn.Linear(d_model, self.key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, self.key_dim // self.groups, bias=False)
        self.v_proj = nn.Linear(d_model, self.value_dim // self.groups, bias=False)
        if settings.output_norm == "rmsnorm":
            self.norm = RMSNorm(
                self.head_v_dim,
                eps=settings.norm_eps,
                elementwise_affine=settings.elementwise_affine,
            )
        else:
            self.norm = nn.Identity()
        self.o_proj = nn.Linear(self.value_dim, d_model, bias=False)

    def initialise(self, std: float, residual_std: float) -> None:
        """Feature maps keep the values of their papers.

        A product of two maps of std 0.02 would be 1e-4 of a value, all of it below the norm's eps.
        """
        before = {k: v.clone() for k, v in self.state_dict().items() if "feature_map" in k}
        super().initialise(std, residual_std)
        self.load_state_dict(before, strict=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q = self.q_proj(x).unflatten(-1, (-1, self.head_k_dim))
        k = self.k_proj(x).unflatten(-1, (-1, self.head_k_dim))
        v = self.v_proj(x).unflatten(-1, (-1, self.head_v_dim))
        q, k = self.feature_map_q(q), self.feature_map_k(k)
        if self.settings.norm_q:
            q = q / (q.sum(-1, keepdim=True) + 1e-4)
        if self.settings.norm_k:
            k = k / (k.sum(-1, keepdim=True) + 1e-4)
        if self.groups > 1:
            k, v = k.repeat_interleave(self.groups, 2), v.repeat_interleave(self.groups, 2)
        o, _ = linear_attention(q, k, v, normalize=self.settings.do_feature_map_norm)
        return self.o_proj(self.norm(o).flatten(-2))

    @property
    def feature_dim(self) -> int:
        """Features of a query or key of a head."""
        factor = {"hedgehog": 2, "dpfp": 2 * NU}.get(self.settings.feature_map, 1)
        return factor * self.head_k_dim

    @property
    def memories(self) -> int:
        """Matrices that differ: heads that share keys and values hold the same one."""
        return self.num_heads // self.groups

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Each matrix, and the sum of keys where the output is normalised."""
        columns = self.head_v_dim + self.settings.do_feature_map_norm
        return self.memories * self.feature_dim * columns * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, feature maps, a write to each matrix and a read by each head."""
        flops = linear_flops(self.q_proj, self.k_proj, self.v_proj, self.o_proj)
        if isinstance(self.feature_map_q, nn.Module):
            layers = [m for m in self.feature_map_q.modules() if isinstance(m, nn.Linear)]
            flops += linear_flops(*layers) * (self.num_heads + self.memories)
        return flops + 2 * (self.num_heads + self.memories) * self.feature_dim * self.head_v_dim


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return LinearAttentionMixer(settings)
