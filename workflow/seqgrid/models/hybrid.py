"""Hybrid: layers of different mixers in one stack, by a pattern that repeats.

    layer l runs pattern[l mod len(pattern)]

Sources of the idea: attention in every n-th layer of a recurrent stack, De et al.,
arXiv:2402.19427 (Griffin) and Lieber et al., arXiv:2403.19887 (Jamba). Each mixer is that of its
own file with its own settings, beside the norms and MLPs that all models here share. It counts the
layers of its own file only: what differs between first and last layer (biases of slstm, the values
that layers of rwkv7 hand on) is spread over these.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError, model_validator
from torch import nn

from seqgrid.data import Shape
from seqgrid.models._base import Backbone, Mixer
from seqgrid.registry import load, on_backbone
from seqgrid.registry import settings as settings_of
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """Which mixer runs in which layer, and with which settings."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="AdamW's betas, weight decay 0.1, clipping at 1 and a cosine: GPT-3, Brown et al., "
        "arXiv:2005.14165, appendix B, as for its attention",
    )

    pattern: list[str] = Field(
        ["deltanet", "attention"],
        min_length=1,
        description="mixers from the first layer on, repeated over num_layers: names of model "
        "files, or of entries of mixers",
    )
    mixers: dict[str, dict[str, Any]] = Field(
        {},
        description="settings of each mixer by its name in the pattern; the key model names the "
        "file of a mixer that is called otherwise",
    )

    @model_validator(mode="after")
    def _parts_exist(self) -> Self:
        problems = [
            {
                "type": "value_error",
                "loc": place,
                "input": found,
                "ctx": {"error": ValueError(text)},
            }
            for place, found, text in self._misplaced()
        ]
        if not problems:
            for label in dict.fromkeys(self.layers):
                problems += self._impossible(label)
            problems = problems or self._differing()
        if problems:
            raise ValidationError.from_exception_data("Settings", problems)  # ty: ignore
        # only what differs from the defaults of a mixer's file tells two hybrids apart
        for label in list(self.mixers):
            own = self.part(label).model_dump(exclude_defaults=True, exclude={*self._shared()})
            file = {"model": self.file(label)} if self.file(label) != label else {}
            self.mixers[label] = file | own
            if not self.mixers[label]:
                del self.mixers[label]
        return self

    @property
    def layers(self) -> list[str]:
        """The name of each layer's mixer."""
        return [self.pattern[layer % len(self.pattern)] for layer in range(self.num_layers)]

    @property
    def parts(self) -> tuple[str, ...]:
        """The files of its mixers."""
        return tuple(sorted({self.file(label) for label in self.layers}))

    def file(self, label: str) -> str:
        """The model file of a mixer."""
        return self.mixers.get(label, {}).get("model", label)

    def part(self, label: str) -> Any:
        """Settings of a mixer, in a stack of all layers that its file has here."""
        chosen = {k: v for k, v in self.mixers.get(label, {}).items() if k != "model"}
        shared = {key: getattr(self, key) for key in self._shared()}
        shared["num_layers"] = [self.file(other) for other in self.layers].count(self.file(label))
        return settings_of("model", self.file(label))(**shared | chosen)

    @property
    def reads_ahead(self) -> bool:
        """Whether one of the mixers does."""
        return any(self.part(label).reads_ahead for label in self.layers)

    def unable(self, seqlen: int) -> str | None:
        """What one of the mixers cannot do at `seqlen` tokens; else None."""
        for label in dict.fromkeys(self.layers):
            if reason := self.part(label).unable(seqlen):
                return f"{label}: {reason}"
        return None

    @staticmethod
    def _shared() -> list[str]:
        return list(BackboneSettings.model_fields)

    def _misplaced(self) -> Iterator[tuple[tuple[str | int, ...], Any, str]]:
        """Location, value and mistake of what names no mixer."""
        allowed = [name for name in on_backbone() if name != "hybrid"]
        for number, label in enumerate(self.pattern):
            if label not in self.layers:
                yield (
                    ("pattern", number),
                    label,
                    f"num_layers={self.num_layers} ends before it; at least {number + 1} layers",
                )
            elif label not in self.mixers and label not in allowed:
                known = ", ".join(sorted({*allowed, *self.mixers}))
                yield ("pattern", number), label, f"no mixer has this name; there are {known}"
        for label, chosen in self.mixers.items():
            if label not in self.pattern:
                yield ("mixers", label), chosen, f"the pattern names {', '.join(self.pattern)}"
            elif self.file(label) not in allowed:
                words = f"the key model is one of {', '.join(allowed)}"
                yield ("mixers", label, "model"), self.file(label), words
            for key in sorted({*chosen} & {*self._shared()}):
                yield ("mixers", label, key), chosen[key], "it is set for the whole stack, above"

    def _impossible(self, label: str) -> list[dict[str, Any]]:
        """The problems of one mixer's settings, at their place in these."""
        try:
            self.part(label)
        except ValidationError as error:
            return [self._placed(label, dict(item)) for item in error.errors(include_url=False)]
        return []

    def _differing(self) -> list[dict[str, Any]]:
        """Layers of one file that differ in what its layers have to agree in."""
        first: dict[str, str] = {}
        found = []
        for label in dict.fromkeys(self.layers):
            other = first.setdefault(self.file(label), label)
            for key in settings_of("model", self.file(label)).common:
                mine, value = getattr(self.part(label), key), getattr(self.part(other), key)
                if mine != value:
                    words = f"{other} has {value}, and layers of {self.file(label)} share it"
                    place = {"loc": ("mixers", label, key), "input": mine}
                    error = {"type": "value_error", "ctx": {"error": ValueError(words)}}
                    found.append(place | error)
        return found

    def _placed(self, label: str, item: dict[str, Any]) -> dict[str, Any]:
        found = item["input"] if item["loc"] else self.mixers.get(label, {})
        place = {"loc": ("mixers", label, *item["loc"]), "input": found}
        if item["type"] != "extra_forbidden":
            return place | {"type": item["type"], "ctx": item.get("ctx", {})}
        fields = settings_of("model", self.file(label)).model_fields
        allowed = ", ".join(sorted(fields.keys() - {*self._shared()}))
        words = f"{self.file(label)} has no such setting; it has {allowed or 'none of its own'}"
        return place | {"type": "value_error", "ctx": {"error": ValueError(words)}}


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer, which its file counts among its own."""
    label = settings.layers[layer]
    before = [settings.file(other) for other in settings.layers[:layer]]
    file = settings.file(label)
    return load("model", file).mixer(settings.part(label), before.count(file))


def positions(settings: Settings, shape: Shape) -> nn.Module | None:
    """What the first mixer that wants positions adds to the embedded input."""
    for label in dict.fromkeys(settings.layers):
        module = load("model", settings.file(label))
        if hasattr(module, "positions"):
            found = module.positions(settings.part(label), shape)
            if found is not None:
                return found
    return None


def build(settings: Settings, shape: Shape) -> Backbone:
    """The model for a problem of `shape`, whose length is each `l_max` that is open."""
    mixers = {label: settings.mixers.get(label, {}) for label in settings.layers}
    for label, chosen in mixers.items():
        if getattr(settings.part(label), "l_max", 0) is None:
            mixers[label] = chosen | {"l_max": shape.seqlen}
    made = settings.model_copy(update={"mixers": mixers})
    return Backbone(made, shape, lambda layer: mixer(made, layer), positions(made, shape))
