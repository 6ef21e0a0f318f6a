"""Two studies side by side: every kind of change is printed, and nothing else is."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables_factory import Tables

from seqgrid import changed_runs, tables
from seqgrid.analysis.build import build
from seqgrid.diff import compare, main
from seqgrid.tables import TABLES

CONFIG = {"training": {"steps": 100, "learning_rate": 1e-3}, "seeds": [0, 1, 2]}


def study(change=lambda made: None, values=(0.5, 0.52, 0.54), **about):
    made = Tables(models=["gru", "lstm"], tasks=["mqar"], **{"config": CONFIG} | about)
    made.levels("mqar", [64], chance=0.1, ceiling=1.0, solved=0.9)
    made.cells("gru", "mqar", 64, list(values))
    made.cells("lstm", "mqar", 64, [0.95, 0.96, 0.97])
    for row in made.rows["cells"]:
        row["settings"] = json.dumps({"training": {"steps": 100}})
    change(made)
    return made


def put(made, folder, report=True):
    folder.mkdir()
    made.write(folder)
    for name, table in build(made.read()).items() if report else ():
        tables.write(table, folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return put(study(), tmp_path_factory.mktemp("before") / "s")


def cell(made, model, seed):
    [row] = (r for r in made.rows["cells"] if (r["model"], r["seed"]) == (model, seed))
    return row


def section(page, title):
    """Rows of the table of a section, without its head."""
    [body] = re.findall(rf"^## {title}\n\n((?:\|.*\n)+)", page, flags=re.M)
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in body.splitlines()[2:]]


def test_a_study_does_not_differ_from_itself(before, tmp_path, capsys):
    same = put(study(), tmp_path / "t")
    assert main([str(before), str(same)]) == 0
    assert capsys.readouterr().out == (
        "# s against t\n\nNothing differs: 6 cells, 12 test values.\n"
    )


def test_a_value_that_changed_is_printed_with_its_size_and_what_follows(before, tmp_path, capsys):
    after = put(study(values=(0.5, 0.52, 0.94)), tmp_path / "s")
    out = tmp_path / "diff.md"
    assert main([str(before), str(after), "--out", str(out)]) == 1
    page = capsys.readouterr().out
    assert out.read_text() == page
    place = ["gru", "mqar", "64", "", "2", "64"]
    assert section(page, "Test values") == [[*place, "0.5400", "0.9400", "+0.4000", "40.00"]]
    [median] = section(page, "Medians")
    assert median[5:] == ["0.5200 [0.5000, 0.5400], n = 3", "0.5200 [0.5000, 0.9400], n = 3"]
    kinds = {(row[-3], row[-2], row[-1]) for row in section(page, "Verdicts")}
    assert ("gained", "-", "SOLVED 1/3") in kinds
    assert ("gained", "-", "UNSTABLE ACROSS SEEDS") in kinds
    assert "lstm" not in page
    assert "## Cells" not in page
    assert "## Levels" not in page
    assert re.search(r"^- Test values: 1 changed, 0 added, 0 removed", page, flags=re.M)


def test_a_value_that_only_one_of_them_has_is_listed(before, tmp_path):
    made = study()
    made.cell("gru", "mqar", 64, 3, 0.7)
    page, _ = compare(before, put(made, tmp_path / "s"))
    assert section(page, "Test values") == [
        ["gru", "mqar", "64", "", "3", "64", "-", "0.7000", "-", "-"]
    ]


def test_direction_gained_and_lost(before, tmp_path):
    after = put(study(values=(0.5, 0.52, 0.94)), tmp_path / "s")
    page, differs = compare(after, before)
    assert differs
    assert ["SOLVED 1/3", "-"] in [row[-2:] for row in section(page, "Verdicts")]
    assert section(page, "Test values")[0][-2] == "-0.4000"


def outcome(made):
    cell(made, "gru", 1).update(outcome="timed_out", reason="no time left")


def removed(made):
    for name in ("cells", "evaluations"):
        rows = made.rows[name]
        made.rows[name] = [r for r in rows if (r["model"], r["seed"]) != ("lstm", 2)]


def commit(made):
    for row in made.rows["cells"]:
        row["git_commit"] = "c" * 40
        row["versions"] = json.dumps({"python": "3.12.1", "torch": "2.14.0"})
        row["device"] = "H100"


def settings(made):
    row = cell(made, "gru", 0)
    row["settings"] = json.dumps({"training": {"steps": 200}})


def level(made):
    made.rows["levels"][0]["value"] = 0.2


def slower(made):
    for row in made.rows["cells"]:
        row["training_seconds"] *= 2


def unfinished(made):
    cell(made, "gru", 1)["stale"] = True


@pytest.mark.parametrize(
    ("change", "title", "rows"),
    [
        (outcome, "Cells", [["gru", "mqar", "64", "", "1", "finished", "timed_out"]]),
        (removed, "Cells", [["lstm", "mqar", "64", "", "2", "finished", "-"]]),
        (unfinished, "Cells", [["gru", "mqar", "64", "", "1", "finished", "finished, stale"]]),
        (settings, "Settings of cells", [["training.steps", "100", "200", "1"]]),
        (level, "Levels", [["mqar", "accuracy", "chance", "64", "0.1000", "0.2000"]]),
        (slower, "Cost", [["training", "2 min", "4 min", "+100.0 %"]]),
        (
            commit,
            "Provenance",
            [
                ["device", "cpu", "H100", "6"],
                ["git_commit", "a" * 40, "c" * 40, "6"],
                ["versions.torch", "2.13.0", "2.14.0", "6"],
            ],
        ),
    ],
)
def test_each_kind_of_change_is_in_its_section(before, tmp_path, change, title, rows):
    page, differs = compare(before, put(study(change), tmp_path / "s", report=False))
    assert differs
    assert section(page, title) == rows
    assert "Not compared, since they are not there in both: summary, verdicts" in page


def test_a_cell_without_a_run_has_no_provenance_to_differ(before, tmp_path):
    none = dict.fromkeys(("source_digest", "git_commit", "git_dirty", "versions", "device"), None)
    gone = {"outcome": "missing", "dtype": None, "backend": None, **none}
    page, differs = compare(
        before, put(study(lambda made: cell(made, "gru", 0).update(gone)), tmp_path / "s", False)
    )
    assert differs
    assert "Provenance" not in page


def test_settings_of_the_study_are_named_by_their_keys(before, tmp_path):
    config = {"training": {"steps": 300, "learning_rate": 1e-3}, "seeds": [0, 1, 2, 3]}
    page, _ = compare(before, put(study(config=config), tmp_path / "s"))
    assert section(page, "Settings of the study") == [
        ["training.steps", "100", "300"],
        ["seeds", "[0, 1, 2]", "[0, 1, 2, 3]"],
    ]


def test_a_nan_is_no_difference_to_a_nan_and_one_to_a_number(tmp_path):
    nan = float("nan")
    a, b = (put(study(values=(nan, 0.5, 0.5)), tmp_path / name) for name in "ab")
    assert not compare(a, b)[1]
    page, _ = compare(a, put(study(values=(0.5, 0.5, 0.5)), tmp_path / "c"))
    assert section(page, "Test values")[0][-4:] == ["nan", "0.5000", "-", "-"]


def test_long_tables_are_cut_unless_all_is_asked_for(tmp_path):
    def wide(shift):
        made = Tables(config={})
        made.levels("mqar", [64], chance=0.1, ceiling=1.0)
        return made.cells("gru", "mqar", 64, [0.3 + shift + 0.001 * i for i in range(30)])

    a, b = (put(wide(s), tmp_path / n, report=False) for s, n in ((0.0, "a"), (0.1, "b")))
    page, _ = compare(a, b)
    assert len(section(page, "Test values")) == 20
    assert "10 more with --all." in page
    assert len(section(compare(a, b, everything=True)[0], "Test values")) == 30


def test_claims_and_comparisons_are_held_against_each_other(before, tmp_path):
    a, b = (put(study(), tmp_path / name) for name in "ab")
    for folder, status, winner in ((a, "supported", "A BETTER"), (b, "refuted", "B BETTER")):
        claim = {"number": 1, "statement": "gru wins", "about": "x", "status": status}
        tables.write(tables.from_rows("claims", [claim]), folder / "claims.parquet")
        row = {"comparison": "x", "outcome": winner, "difference": 0.25}
        tables.write(tables.from_rows("comparisons", [row]), folder / "comparisons.parquet")
    page, _ = compare(a, b)
    assert section(page, "Claims") == [["gru wins, x", "supported", "refuted"]]
    assert section(page, "Comparisons") == [["x", "A BETTER, 0.2500", "B BETTER, 0.2500"]]


def test_wrong_calls_are_one_line(before, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put(study(), tmp_path / "old")
    whole = TABLES["cells"]
    monkeypatch.setitem(TABLES, "cells", whole[:-1])
    assert main(["old", str(before)]) == 2
    assert "does not have the columns of 'cells'" in capsys.readouterr().err
    monkeypatch.setitem(TABLES, "cells", whole)
    monkeypatch.setattr("seqgrid.tables.SCHEMA_VERSION", "99")
    assert main(["old", str(before)]) == 2
    assert "has schema version 3, this report reads 99" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old/levels.parquet").unlink()
    put(study(), tmp_path / "words")
    path = tmp_path / "words/cells.parquet"
    cells = pq.read_table(path)
    seeds = pa.array(["x"] * len(cells))
    other = cells.set_column(cells.schema.get_field_index("seed"), "seed", seeds)
    pq.write_table(other.replace_schema_metadata(cells.schema.metadata), path)
    for words, said in (
        ([str(before), "words"], "words/cells.parquet has columns of other types than 'cells'"),
        ([str(before), "x" * 5000], "'xxx"),
        (["nowhere", str(before)], "'nowhere' is not a folder, or a study in results/studies"),
        ([str(before), "old"], "old/levels.parquet is missing: collect the study first"),
    ):
        assert main(words) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith(said)
        assert output.err.count("\n") == 1
    (tmp_path / "results/studies").mkdir(parents=True)
    put(study(), tmp_path / "results/studies/mine")
    assert main(["mine", str(before)]) == 0


def test_studies_without_a_common_cell_are_said_to_have_none(before, tmp_path):
    other = Tables().levels("mqar", [64], chance=0.1, ceiling=1.0, solved=0.9)
    put(other.cells("a model of no other study", "mqar", 64, [0.5]), tmp_path / "other")
    assert "have no cell in common" in compare(before, tmp_path / "other")[0]
    assert "have no cell in common" not in compare(before, before)[0]


def test_a_changed_claim_shows_the_fields_that_changed():
    claim = {"statement": "a beats b", "compare": "ab", "verdict": "A BETTER", "why": "known"}
    other = {"statement": "c is solved", "place": {"model": "c"}, "verdict": "SOLVED"}
    sides = [
        {"config": {"claims": [claim, other]}},
        {"config": {"claims": [other, claim | {"verdict": "NO DIFFERENCE"}]}},
    ]
    assert changed_runs.settings(*sides).rows == [
        ["claims.a beats b.verdict", "A BETTER", "NO DIFFERENCE"]
    ]
