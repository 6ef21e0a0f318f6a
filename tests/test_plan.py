"""What comes next for a cell follows from valid files alone, however broken the others are."""

import json
import os
import subprocess
import sys

import pytest
from grid_factory import SMALL, Results, write_study

from seqgrid import collection, driver, outcome, plan
from seqgrid.outcome import Verified

NAME = "L8-n1000"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Results(tmp_path)


# -- the table of the module ---------------------------------------------------------------------


def test_a_cell_without_parts_is_trained(results):
    assert results.step() == ("train", "", 1, NAME)
    assert results.first().state == "missing"


def test_a_part_that_was_begun_and_has_no_outcome_is_the_one_to_make(results):
    results.part("timed_out", publish=False)
    assert results.step() == ("train", "", 1, NAME)
    results.part("timed_out")
    results.part("timed_out", number=2, publish=False)
    assert results.step() == ("resume", "", 2, NAME)
    assert results.first().state == "timed_out"


@pytest.mark.parametrize("state", outcome.UNFINISHED)
def test_a_cut_cell_is_resumed(results, state):
    results.part(state, evaluated=True)
    assert results.step() == ("resume", "", 2, NAME)
    results.part(state, number=2)
    assert results.step() == ("resume", "", 3, NAME)
    assert results.first().state == state


ENDED = ("finished", "diverged", "out_of_memory", "killed", "failed", "skipped")


@pytest.mark.parametrize("state", ENDED)
def test_a_cell_that_came_to_its_end_is_evaluated_and_then_left_alone(results, state):
    part = results.part(state)
    assert results.step() == ("evaluate", "", 1, NAME)
    results.evaluate(part, results.rows[0])
    assert results.step() == (None, "", 1, None)
    assert results.first().state == state
    assert results.first().reason == f"it was {state}"


def test_a_part_without_weights_is_not_evaluated(results):
    results.part("skipped", checkpoint=None)
    assert results.step() == (None, "", 1, None)


def test_only_the_last_part_is_evaluated(results):
    results.part("timed_out", evaluated=True)
    results.part("finished", number=2)
    assert results.step() == ("evaluate", "", 2, NAME)


def test_parts_count_beyond_nine(results):
    for number in range(1, 12):
        results.part("timed_out", number=number)
    assert results.step() == ("resume", "", 12, NAME)
    assert len(results.first().outcomes) == 11


# -- broken files --------------------------------------------------------------------------------


def flip_a_byte(path):
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert path.stat().st_mtime_ns == stat.st_mtime_ns


def edit(**fields):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


CORRUPT = {
    "empty": ("outcome.json", lambda path: path.write_text("")),
    "truncated": ("outcome.json", lambda path: path.write_text(path.read_text()[:80])),
    "not JSON": ("outcome.json", lambda path: path.write_text("finished")),
    "not text": ("outcome.json", lambda path: path.write_bytes(b"\xff\xfe\x00")),
    "a list": ("outcome.json", lambda path: path.write_text("[]")),
    "wrong schema": ("outcome.json", edit(attempts="many")),
    "unknown state": ("outcome.json", edit(outcome="done")),
    "unknown key": ("outcome.json", edit(surprise=1)),
    "another number": ("outcome.json", edit(silent_deaths=7)),
    "another cell": ("outcome.json", edit(cell="lstm/adding_problem/L8/seed0-0123456789")),
    "another part": ("outcome.json", edit(part=2)),
    "another run": ("outcome.json", edit(run="again1")),
    "no files": ("outcome.json", edit(files={})),
    "checkpoint empty": ("checkpoint.pt", lambda path: path.write_bytes(b"")),
    "checkpoint truncated": ("checkpoint.pt", lambda path: path.write_bytes(b"weigh")),
    "checkpoint flipped": ("checkpoint.pt", flip_a_byte),
    "history truncated": ("history.parquet", lambda path: path.write_bytes(b"his")),
    "history flipped": ("history.parquet", flip_a_byte),
}


def test_a_part_of_a_newer_version_is_named_and_left_alone_unless_asked_for(results):
    part = results.part("finished", evaluated=True)
    edit(schema_version=2)(part.folder / "outcome.json")
    standing = results.first()
    assert (standing.state, standing.next, standing.target) == ("corrupt", None, None)
    assert "made by a newer seqgrid (schema 2, this one reads 1)" in standing.reason
    assert results.step("corrupt")[:3] == ("resume", "", 2)


def test_an_outcome_without_a_seal_counts(results):
    """As those of the first version."""
    part = results.part("finished", evaluated=True)
    edit(seal=None)(part.folder / "outcome.json")
    assert results.step() == (None, "", 1, None)


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_part_is_named_and_made_again_from_the_newest_good_state(results, name):
    file, damage = CORRUPT[name]
    part = results.part("finished", evaluated=True)
    assert results.step() == (None, "", 1, None)  # and the cache knows the files
    damage(part.folder / file)
    standing = results.first()
    assert standing.state == "corrupt"
    assert file in standing.reason
    assert "\n" not in standing.reason
    assert (standing.next, standing.part) == ("resume", 2)
    assert not standing.outcomes
    results.part("finished", number=2, evaluated=True)
    assert results.step() == (None, "", 2, None)
    assert results.first().state == "finished"


@pytest.mark.parametrize("file", ["outcome.json", "checkpoint.pt", "history.parquet"])
def test_a_part_that_lost_a_file_is_made_again_in_place(results, file):
    part = results.part("finished", evaluated=True)
    (part.folder / file).unlink()
    assert results.step() == ("train", "", 1, NAME)
    assert results.first().state == "missing"
    part.publish()  # what the trainer does then
    assert results.step() == (None, "", 1, None)


def test_a_lost_part_that_was_followed_by_a_good_one_is_history(results):
    first = results.part("timed_out")
    results.part("finished", number=2, evaluated=True)
    (first.folder / "checkpoint.pt").unlink()
    assert results.step() == (None, "", 2, None)
    assert results.first().state == "finished"


def test_a_corrupt_last_part_hides_no_earlier_progress(results):
    results.part("timed_out")
    part = results.part("timed_out", number=2)
    (part.folder / "checkpoint.pt").write_bytes(b"")
    standing = results.first()
    assert (standing.state, standing.next, standing.part) == ("corrupt", "resume", 3)
    assert [o.part for o in standing.outcomes] == [1]


def record(**fields):
    return lambda path: edit(**fields)(path.with_suffix(".json"))


BROKEN_EVALUATIONS = {
    "truncated": lambda path: path.write_bytes(b"sco"),
    "flipped": flip_a_byte,
    "foreign": record(checkpoint="f" * 64),
    "without its record": lambda path: path.with_suffix(".json").unlink(),
    "with a torn record": lambda path: path.with_suffix(".json").write_text('{"file": {'),
    "with a wrong record": record(seconds="long"),
}


@pytest.mark.parametrize("name", BROKEN_EVALUATIONS)
def test_a_broken_evaluation_is_made_again_under_another_name(results, name):
    part = results.part("finished", evaluated=True)
    results.plan()
    BROKEN_EVALUATIONS[name](part.folder / f"evaluation-{NAME}.parquet")
    assert results.step() == ("evaluate", "", 1, f"{NAME}-again1")
    assert not results.first().evaluation.valid
    results.evaluate(part, results.rows[0], again=1)
    assert results.step() == (None, "", 1, None)
    BROKEN_EVALUATIONS[name](part.folder / f"evaluation-{NAME}-again1.parquet")
    assert results.step() == ("evaluate", "", 1, f"{NAME}-again2")


def test_a_lost_evaluation_is_made_again(results):
    part = results.part("finished", evaluated=True)
    (part.folder / f"evaluation-{NAME}.parquet").unlink()
    assert results.step() == ("evaluate", "", 1, NAME)


def test_another_evaluation_does_not_count_as_this_one(results, tmp_path):
    results.part("finished", evaluated=True)
    write_study(tmp_path, results_text(evaluation="{lengths: [16]}"))
    results.load()
    assert results.step() == ("evaluate", "", 1, "L8+16-n1000")


def results_text(**keys):
    return SMALL + "".join(f"{key}: {value}\n" for key, value in keys.items())


# -- asking again --------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "out_of_memory", "killed", "timed_out", "interrupted"])
def test_asking_again_goes_on_after_a_failure(results, state):
    results.part(state, evaluated=True)
    assert results.step(rerun=state) == ("resume", "", 2, NAME)


@pytest.mark.parametrize("state", ["finished", "diverged", "skipped"])
def test_asking_again_starts_anew_after_an_end(results, state):
    results.part(state, evaluated=True)
    assert results.step(rerun=state) == ("train", "again1", 1, NAME)
    results.part(state, run="again1", evaluated=True)
    assert results.step() == (None, "again1", 1, None)
    assert results.step(rerun=state) == ("train", "again2", 1, NAME)


def test_asking_for_another_state_changes_nothing(results):
    results.part("finished", evaluated=True)
    assert results.step(rerun="failed,diverged,stale,corrupt") == (None, "", 1, None)


def test_stale_results_are_kept_until_asked_for(results):
    results.part("timed_out", evaluated=True, stale=True)
    results.part("finished", number=2, evaluated=True, stale=True)
    assert results.first().stale
    assert results.step() == (None, "", 2, None)
    assert results.step(rerun="stale") == ("train", "again1", 1, NAME)
    results.part("finished", run="again1", evaluated=True)
    assert not results.first().stale
    assert results.step(rerun="stale") == (None, "again1", 1, None)


def test_a_stale_evaluation_alone_is_evaluated_again(results):
    part = results.part("finished")
    results.evaluate(part, results.rows[0], stale=True)
    assert results.step() == (None, "", 1, None)
    assert results.first().evaluation.stale
    assert results.step(rerun="stale") == ("evaluate", "", 1, f"{NAME}-again1")


def test_a_failed_evaluation_is_made_again_with_the_failed_cells(results):
    part = results.part("finished")
    results.evaluate(part, results.rows[0], error="Traceback\nValueError: no")
    assert results.step() == (None, "", 1, None)
    assert results.step(rerun="failed") == ("evaluate", "", 1, f"{NAME}-again1")


def test_a_corrupt_cell_is_never_started_anew(results):
    part = results.part("finished", stale=True)
    (part.folder / "outcome.json").write_text("")
    assert results.step(rerun="corrupt,stale") == ("resume", "", 2, NAME)


def test_a_new_training_under_way_does_not_hide_the_finished_one(results):
    results.part("finished", evaluated=True)
    results.part("timed_out", run="again1", evaluated=True)
    standing = results.first()
    assert (standing.state, standing.reported_run) == ("finished", "")
    assert (standing.next, standing.run, standing.part) == ("resume", "again1", 2)
    results.part("diverged", run="again1", number=2, evaluated=True)
    assert results.first().state == "diverged"


def test_a_new_run_never_takes_the_folder_of_an_older_one(results):
    results.part("finished", evaluated=True)
    results.part("finished", run="again2", evaluated=True)  # again1 was removed by hand
    assert results.step(rerun="finished") == ("train", "again3", 1, NAME)
    results.part("finished", run="again10", evaluated=True)
    assert results.step(rerun="finished") == ("train", "again11", 1, NAME)


def test_a_wrong_rerun_names_what_is_allowed():
    assert plan.parse_rerun("failed, stale,") == {"failed", "stale"}
    assert plan.parse_rerun(["failed"]) == {"failed"}
    with pytest.raises(plan.WrongRequest, match=r"'fialed' is not a state; allowed: .*failed"):
        plan.parse_rerun("fialed")


# -- selecting, counting, preparing --------------------------------------------------------------


def test_cells_are_selected_by_path_folder_and_pattern(results):
    standings = results.plan()
    path = standings[0].row.cell.path

    def chosen(pattern):
        return [s.row.cell.path for s in plan.select(standings, pattern)]

    assert chosen(path) == [path]
    assert chosen(f"results/cells/{path}/") == chosen(f"./results/cells/{path}") == [path]
    assert len(chosen("gru")) == len(chosen("gru/adding_problem/L8")) == 2
    assert len(chosen("*/adding_problem")) == 4
    assert chosen("*/*/L8/seed1-*") == [standings[1].row.cell.path, standings[3].row.cell.path]
    for wrong in ("gr", "gru/adding_problem/L", f"{path}0", "*", "g.u"):
        if wrong == "*":
            assert len(chosen(wrong)) == 4
        else:
            with pytest.raises(plan.WrongRequest, match="a path looks like gru/adding_problem/L8"):
                chosen(wrong)


def test_counts_are_the_jobs_to_come(results):
    assert plan.counts(results.plan()) == {"train": 4, "evaluate": 4}
    results.part("finished", row=0)
    results.part("timed_out", row=1, evaluated=True)
    results.part("finished", row=2, evaluated=True)
    assert plan.counts(results.plan()) == {"train": 1, "resume": 1, "evaluate": 3}


def test_preparing_writes_what_jobs_read_and_nothing_else(results):
    results.part("finished", row=0, evaluated=True)
    results.part("timed_out", row=1)
    plan.prepare(results.plan(), "small", results.study, results.folder)
    cells = results.folder / "cells"
    written = {p.parent.relative_to(cells).as_posix() for p in cells.rglob("execution.json")}
    assert written == {row.cell.path for row in results.rows[1:]}
    for row in results.rows:
        assert type(row.cell).read(cells / row.cell.path) == row.cell
    torn = cells / results.rows[3].cell.path / "cell.json"
    torn.write_text("{")
    before = (cells / results.rows[2].cell.path / "cell.json").stat().st_mtime_ns
    plan.prepare(results.plan(), "small", results.study, results.folder)
    assert type(results.rows[3].cell).read(torn.parent) == results.rows[3].cell
    assert (cells / results.rows[2].cell.path / "cell.json").stat().st_mtime_ns == before
    assert not list(cells.rglob(".*"))


# -- collections ---------------------------------------------------------------------------------


@pytest.fixture
def collected(results):
    for row in range(4):
        results.part("finished", row=row, evaluated=True)
    collect(results)
    return results


def generation(results):
    return collection.generation(
        results.folder, results.name, results.study, plan.plan(results.rows, results.folder)
    )


MADE = ("cells.parquet", "report.md", "report.html", "claims.parquet", "figures/curves.svg")


def collect(results):
    """What collect and report leave behind."""
    folder = collection.stamps(results.folder, results.name)
    folder.mkdir(parents=True, exist_ok=True)
    made = collection.digest(results.study, results.plan())
    number = generation(results)
    (folder / f"{number}.collected").write_text(made + "\n")
    copies = f".made/{number}.tables/claims.csv", f".made/{number}.figures/curves.svg"
    for name in (*copies, *MADE):
        (folder.parent / name).parent.mkdir(exist_ok=True)
        (folder.parent / name).write_text("made")


def test_a_study_is_collected_once(collected):
    assert generation(collected) == 1
    assert collected.plan() == collected.plan()


@pytest.mark.parametrize("lost", [*MADE, ".made/1.collected"])
def test_a_lost_report_is_made_again(collected, lost):
    (collected.folder / "studies/small" / lost).unlink()
    assert generation(collected) == (1 if lost.startswith(".made") else 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [("gru: ", "other: {model: gru}"), ("which one?", "which?"), ("0..1", "[0]"), ("0..1", "0..2")],
)
def test_a_changed_study_is_collected_again(collected, tmp_path, old, new):
    write_study(tmp_path, SMALL.replace(old, new))
    collected.load()
    assert generation(collected) == 2


def test_a_changed_cell_is_collected_again(collected):
    (collected.part("finished", row=0).folder / "outcome.json").write_text("")
    assert generation(collected) == 2
    collect(collected)
    collected.part("failed", number=2, row=0, evaluated=True)
    assert generation(collected) == 3


def test_the_driver_asks_for_what_is_missing_and_then_for_nothing(collected, tmp_path):
    (tmp_path / "config/config.yaml").write_text("study: small\n")
    assert driver.start({"study": "small"}).collected == []
    started = driver.start({"study": "small", "rerun": "finished", "cell": "gru"})
    assert len(started.targets) == 2
    assert all("/again1/part1/evaluation-" in target for target in started.targets)
    assert driver.start({"study": "small", "cell": "gru"}).targets[0].endswith("/cell.json")
    assert driver.start({"study": "small", "rerun": ["finished", "failed"]}).collected


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"study": "smal"}, "study: 'smal' is not a file in config/studies; allowed: small; did "),
        ({}, "study: '' is not a file in config/studies; allowed: small"),
        ({"study": "small", "rerum": "failed"}, "--config rerum: 'rerum' is not a setting; "),
        ({"study": "small", "rerun": "x"}, "rerun: 'x' is not a state; allowed: finished, "),
        ({"study": "small", "cell": "x"}, "cell: 'x' matches no cell of the study; "),
    ],
)
def test_the_driver_answers_a_mistake_with_one_line(results, capsys, config, line):
    with pytest.raises(SystemExit):
        driver.start(config)
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


# -- the cache of checked files ------------------------------------------------------------------


def test_checked_files_are_not_read_again_until_they_change(results, monkeypatch):
    part = results.part("finished", evaluated=True)
    results.plan()
    with monkeypatch.context() as patched:
        patched.setattr(outcome.FileRecord, "of", lambda path: pytest.fail(f"{path} was read"))
        assert results.step()[0] is None
    flip_a_byte(part.folder / "history.parquet")
    assert results.first().state == "corrupt"


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "\x00", '{"a": 3}'])
def test_a_broken_cache_is_forgotten(results, content):
    results.part("finished", evaluated=True)
    results.plan()
    (results.folder / ".verified.json").write_text(content)
    assert results.step()[0] is None
    assert Verified(results.folder / ".verified.json").known


def test_a_results_folder_that_cannot_be_written_is_still_planned(results, monkeypatch):
    results.part("finished", evaluated=True)

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(outcome.Path, "replace", refuse)
    assert results.step()[0] is None
    assert [p.name for p in results.folder.iterdir()] == ["cells"]


# -- start-up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["plan", "study", "outcome", "status", "driver", "collection"])
def test_planning_imports_nothing_heavy(module):
    heavy = ("torch", "numpy", "pandas", "pyarrow", "matplotlib", "snakemake", "scipy")
    code = (
        f"import sys, seqgrid.{module}, seqgrid.registry as r\n"
        "[r.settings(kind, name) for kind in r.FOLDERS for name in r.names(kind)]\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
