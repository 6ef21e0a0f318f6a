"""`python benchmarks/zoology_side.py FOLDER`: train with HazyResearch/zoology's own trainer.

FOLDER has `given.json` and `given.pt` of zoology_mqar.py; prints one line of JSON. Nothing of
seqgrid is imported. zoology is used as it is but for what stands in `prepare`, which returns it in
words.
"""

import contextlib
import importlib.util
import inspect
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

START = time.process_time()  # of what comes before, 0.02 s is Python itself

import torch  # noqa: E402
from torch import nn  # noqa: E402


class Identity(nn.Identity):
    """torchvision's StochasticDepth with a probability of 0, which is all that is asked here."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        assert p == 0


def prepare(path: str) -> list[str]:
    """Make zoology importable on a CPU; returns what was changed."""
    sys.path.insert(0, path)
    changes = []
    for name, filled in (("wandb", {}), ("torchvision", {"StochasticDepth": Identity})):
        if importlib.util.find_spec(name) is None:
            for part in (name, f"{name}.ops"):
                sys.modules[part] = types.ModuleType(part)
                vars(sys.modules[part]).update(filled)
            changes.append(f"{name} is not installed and stubbed")
    from zoology import model

    where = model.TokenEmbeddings.__init__
    where.__defaults__ = tuple("cpu" if x == "cuda" else x for x in where.__defaults__)
    changes.append("positions on the CPU instead of `cuda`")
    answer = inspect.signature(model.LanguageModel.forward).parameters.get("return_embeddings")
    if answer is not None and answer.default is True:
        # its trainer would take the cross entropy of the last norm's outputs
        model.LanguageModel.forward.__defaults__ = (None, None, False)
        changes.append("the model returns logits, as its trainer expects, not embeddings")
    return changes


def like_ours(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Give zoology's model seqgrid's norms, no biases but the head's, and these weights."""
    width = model.lm_head.in_features
    model.backbone.ln_f = nn.RMSNorm(width, eps=1e-6)
    model.lm_head = nn.Linear(width, model.lm_head.out_features)
    state = {
        "backbone.embeddings.word_embeddings.weight": weights["embed.weight"],
        "backbone.embeddings.position_embeddings.weight": weights["positions.table.weight"],
        "backbone.ln_f.weight": weights["norm.weight"],
        "lm_head.weight": weights["head.weight"],
        "lm_head.bias": weights["head.bias"],
    }
    for i, layer in enumerate(model.backbone.layers):
        layer.norm1, layer.norm2 = (nn.RMSNorm(width, eps=1e-6) for _ in range(2))
        layer.sequence_mixer.out_proj.bias = None
        layer.state_mixer.fc1.bias = layer.state_mixer.fc2.bias = None
        ours, theirs = f"blocks.{i}", f"backbone.layers.{i}"
        qkv = [weights[f"{ours}.mixer.{name}_proj.weight"] for name in "qkv"]
        state |= {
            f"{theirs}.norm1.weight": weights[f"{ours}.mixer_norm.weight"],
            f"{theirs}.norm2.weight": weights[f"{ours}.mlp_norm.weight"],
            f"{theirs}.sequence_mixer.Wqkv.weight": torch.cat(qkv),
            f"{theirs}.sequence_mixer.out_proj.weight": weights[f"{ours}.mixer.o_proj.weight"],
            f"{theirs}.state_mixer.fc1.weight": weights[f"{ours}.mlp.up_proj.weight"],
            f"{theirs}.state_mixer.fc2.weight": weights[f"{ours}.mlp.down_proj.weight"],
        }
    model.load_state_dict(state, strict=True)


class Feed(torch.utils.data.Dataset):
    """Batches made beforehand: each pass over it gives the next so many."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, batch: int, passes: int):
        self.inputs, self.targets, self.batch = inputs, targets, batch
        self.size = -(-len(inputs) // batch // passes)
        self.begun = 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, list[dict]]:
        """One batch; that of index 0 begins a pass."""
        if index == 0:
            self.begun += 1
        start = ((self.begun - 1) * self.size + index) * self.batch % len(self.inputs)
        rows = slice(start, start + self.batch)
        return self.inputs[rows], self.targets[rows], [{}] * self.batch


def main() -> int:
    """Entry point; prints what zoology took and reached."""
    folder = Path(sys.argv[1])
    given = json.loads((folder / "given.json").read_text())
    tensors = torch.load(folder / "given.pt")
    torch.set_num_threads(1)
    changes = prepare(given["zoology"])
    from zoology import train
    from zoology.config import DataConfig, ModelConfig, ModuleConfig, TrainConfig
    from zoology.data.multiquery_ar import MQARConfig

    seqlen, batch, epochs = given["seqlen"], given["batch_size"], given["epochs"]
    data = {"vocab_size": given["vocab_size"], "input_seq_len": seqlen, "num_kv_pairs": 4,
            "random_non_queries": False}  # fmt: skip
    mixer = {"num_heads": 1, "dropout": 0.0, "bias": given["own_model"]}
    config = TrainConfig(
        data=DataConfig(
            train_configs=[MQARConfig(num_examples=given["epoch_steps"] * batch, **data)],
            test_configs=[MQARConfig(num_examples=given["validation"], **data)],
            batch_size=batch,
        ),
        model=ModelConfig(
            d_model=given["d_model"], n_layers=2, vocab_size=given["vocab_size"],
            max_position_embeddings=seqlen, embed_dropout=0.0,
            sequence_mixer=ModuleConfig(name="zoology.mixers.attention.MHA", kwargs=mixer),
            state_mixer=ModuleConfig(name="zoology.mixers.mlp.MLP",
                                     kwargs={"hidden_mult": given["mlp_ratio"]}),
        ),
        max_epochs=epochs, early_stopping_threshold=2.0, learning_rate=given["learning_rate"],
        weight_decay=0.0,
    )  # fmt: skip
    found: dict[str, Any] = {"changes": changes, "start": time.process_time() - START}
    make_data, make_model, test = train.prepare_data, train.LanguageModel, train.Trainer.test
    fit, validations = train.Trainer.fit, []

    def prepared(config: Any) -> list:
        begin = time.process_time()
        made = list(make_data(config))
        found["data"] = time.process_time() - begin
        if given["own_model"]:
            return made
        feeds = [(tensors["train"], epochs), (tensors["validation"], 1)]
        made = [Feed(*pair, batch, passes) for pair, passes in feeds]
        return [torch.utils.data.DataLoader(x, batch_size=None, shuffle=False) for x in made]

    def built(config: Any) -> Any:
        model = make_model(config)
        if not given["own_model"]:
            like_ours(model, tensors["weights"])
            with torch.no_grad():
                logits = model(tensors["probe"])
            found["difference"] = (logits - tensors["logits"]).abs().max().item()
        found["parameters"] = sum(p.numel() for p in model.parameters())
        return model

    def tested(self: Any, epoch: int) -> Any:
        begin = time.process_time()
        metrics = test(self, epoch)
        validations.append(metrics | {"seconds": time.process_time() - begin})
        return metrics

    def fitted(self: Any) -> None:
        begin = time.process_time()
        fit(self)
        found["fit"] = time.process_time() - begin

    train.prepare_data, train.LanguageModel = prepared, built
    train.Trainer.test, train.Trainer.fit = tested, fitted
    # constant, as its cosine moves once an epoch and ours at each step
    train.optim.lr_scheduler.CosineAnnealingLR = lambda optimiser, **_: (
        torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    )
    with contextlib.redirect_stdout(sys.stderr):
        train.train(config)
    print(json.dumps(found | {"validations": validations}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
