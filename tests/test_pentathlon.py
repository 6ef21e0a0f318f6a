"""The pentathlon compares nine mixers: what it says is equal is."""

import json
from pathlib import Path

import pytest

from seqgrid import study


@pytest.mark.parametrize("name", ["pentathlon", "pentathlon_smoke"])
def test_the_pentathlon_is_equal_where_it_says_so(name, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    asked, rows = study.load(name)
    assert len(asked.models) == 9
    assert len({json.dumps(e.size_to.model_dump()) for e in asked.models.values()}) == 1
    grids = {}
    for row in rows:
        settings, training = row.cell.model_settings, row.cell.training
        who = settings["num_layers"], settings["mlp_ratio"], row.cell.compute
        how = training.steps, training.batch_size, training.warmup_steps
        grids.setdefault((row.task, row.cell.seqlen), {}).setdefault(row.model, []).append(
            (who, how, training.learning_rate, row.cell.seed)
        )
    for models in grids.values():
        found = list(models.values())
        assert len({cells[0][0] for cells in found}) == 1
        assert {len(cells) for cells in found} == {len(found[0])}
        assert len({frozenset((rate, seed) for *_, rate, seed in cells) for cells in found}) == 1
    if name == "pentathlon":
        assert all(len(models) == 9 for models in grids.values())
        assert {len(cells) for cells in grids["knapsack", 32].values()} == {4 * 5}
