"""The cost card: counted as the tables count, measured here, and one line for a mistake."""

import pytest
import torch

from seqgrid import cost, registry
from seqgrid.data import Shape

SHAPE = Shape(num_outputs=11, pooled=False, seqlen=16, vocab_size=11)
POOLED = Shape(num_outputs=3, pooled=True, seqlen=16, num_channels=2)


@pytest.mark.parametrize("name", registry.names("model"))
def test_a_card_counts_every_parameter_once(name):
    record = registry.settings("model", name)
    settings, shape = record().model_dump(), POOLED if record.pooled_only else SHAPE
    found = cost.card(name, settings, shape)
    made = registry.make_model(name, settings, shape)
    assert found.total == made.num_parameters
    assert "others" not in found.parameters
    assert found.state_bytes == made.state_bytes(16)
    assert found.flops_per_token == made.flops_per_token(16)


def test_the_task_that_is_not_named_is_one_that_the_model_can_do(capsys, monkeypatch):
    monkeypatch.setattr(cost, "LEAST_SECONDS", 0.0)
    small = ["--settings", "d_model=8", "num_qubits=2", "--lengths", "16", "--batch", "2"]
    assert cost.main(["qh_2d", *small]) == 0
    assert capsys.readouterr().out.startswith("qh_2d d_model=8 num_qubits=2 on selective_copy\n")


def test_what_is_counted_takes_no_memory():
    found = cost.card("attention", {"d_model": 2**15, "num_layers": 40}, SHAPE)
    assert found.total > 300e9


def test_the_command_prints_sizes_speed_and_backend(capsys, monkeypatch):
    monkeypatch.setattr(cost, "LEAST_SECONDS", 0.0)
    words = ["gru", "--settings", "d_model=8", "num_layers=1", "--lengths", "16,32", "--batch", "2"]
    assert cost.main(words) == 0
    page = capsys.readouterr().out
    assert page.startswith("gru d_model=8 num_layers=1 on mqar\n")
    assert "| mixers    |              432 |" in page
    lines = [
        [c.strip() for c in x.strip("| ").split("|")] for x in page.splitlines() if "32 B" in x
    ]
    assert [line[0] for line in lines] == ["16", "32"]
    assert all(float(line[-1].replace(",", "")) > 0 for line in lines)
    assert f"CPU with {torch.get_num_threads()} thread" in page
    assert "gru: torch.nn.GRU" in page


WRONG = {
    "grru": "model: 'grru' is not a model; allowed: ",
    "gru --task mqqar": "task: 'mqqar' is not a task; allowed: ",
    "gru --settings d_model": "--settings: 'd_model' is not KEY=VALUE, such as d_model=128",
    "gru --settings d_model=64 d_model=32": "--settings: d_model stands there twice",
    "gru --settings d_modle=8": "--settings: d_modle: 'd_modle' is not a key here; allowed: ",
    "gru --settings d_model=x": "--settings: d_model: an integer is needed, got 'x'",
    "gru --settings d_model=[1": "--settings: d_model: ",
    "gru --compute precision=fp8": "--compute: precision: 'fp32' or 'bf16' is needed, got 'fp8'",
    "qh_4a --task mqar": "--task: qh_4a gives one answer a sequence and mqar asks at positions; "
    "choose one",
    "gru --lengths 8": "--lengths: mqar does not exist at 8: 4 pairs and their queries need 16",
    "gru --lengths 8,x": "--lengths: '8,x' is not a list of lengths, such as 256,1024",
    "attention --settings positions=learned max_seqlen=4 --lengths 16": "--lengths: attention "
    "cannot read 16 tokens: learned positions end at 4 tokens, 16 asked",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_is_one_line(words, capsys):
    assert cost.main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(WRONG[words])
    assert said.count("\n") == 1


def test_a_cache_of_keys_and_values_is_what_the_attention_model_keeps():
    assert cost.kv_cache_bytes(layers=32, kv_heads=8, head_dim=128) == 131_072
    settings = {"d_model": 64, "num_heads": 4, "num_layers": 3}
    made = registry.make_model("attention", settings, SHAPE)
    assert made.state_bytes(16, bytes_per_element=2) == cost.kv_cache_bytes(3, 4, 16, tokens=16)
