"""The workflow as its users type it, in a copy of the project."""

import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

STUDY = """
question: Does the workflow do what it says?
models:
  gru: {settings: {d_model: 8, num_layers: 1}}
  short:
    model: attention
    settings: {d_model: 8, num_layers: 1, num_heads: 2, positions: learned, max_seqlen: 8}
tasks: {adding_problem: {}}
lengths: [8, 12]
seeds: 0..1
training: {steps: 30, batch_size: 8}
validation: {every_steps: 10, examples: 32}
evaluation: {examples: 32}
"""

FAILING = '''
"""A model that fails while a file is there."""
from pathlib import Path
from seqgrid import registry
from seqgrid.settings import BackboneSettings

class Settings(BackboneSettings):
    """None."""

def build(settings, shape):
    if Path("broken").exists():
        raise RuntimeError("the kernel is missing")
    return registry.make_model("gru", dict(d_model=8, num_layers=1), shape)
'''


def ran(done):
    assert done.returncode == 0, done.text
    return done


@pytest.fixture(scope="module")
def finished(shared_project):
    """A project whose small study has run once, with what the first dry run said."""
    shared_project.study(STUDY)
    before = shared_project.missing()
    shared_project.first = ran(shared_project.snakemake())
    shared_project.before = before
    return shared_project


def test_the_dry_run_counts_what_is_missing(finished):
    assert finished.before == {"train": 8, "evaluate": 8, "collect": 1, "report": 1}


def test_a_run_says_how_far_it_is_and_where_the_report_is(finished):
    text = finished.first.text
    assert "steps (100%) done" in text
    assert "results/studies/small/report.md" in text
    assert re.search(r"gru adding_problem L8 seed 0 part 1: finished, budget of 30 steps", text)
    assert "Traceback" not in text


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.missing() == {}
    assert "Nothing to be done" in ran(finished.snakemake()).text


def test_its_own_report_holds_the_page_the_figures_and_the_tables(finished):
    ran(finished.snakemake("--report", "out.zip"))
    with zipfile.ZipFile(finished.folder / "out.zip") as packed:
        names = {Path(name).name for name in packed.namelist()}
        (page,) = (name for name in packed.namelist() if name.endswith("1.report.html"))
        made = finished.folder / "results/studies/small/report.html"
        assert packed.read(page) == made.read_bytes()
        shell = packed.read("out/report.html").decode()
    assert {"results.svg", "curves.svg", "summary.csv", "verdicts.csv"} <= names
    for words in ("a grid of sequence models", "opens with", "Figures", "Tables", "as CSV"):
        assert words in shell.replace("\\n", " ")
    assert finished.missing() == {}


def test_skipped_cells_are_in_the_report_with_their_reason(finished):
    report = (finished.folder / "results/studies/small/report.md").read_text()
    assert "skipped" in report
    outcomes = {o["outcome"] for o in finished.outcomes().values()}
    assert outcomes == {"finished", "skipped"}


def test_touching_and_formatting_sources_schedules_nothing(finished):
    for path in finished.folder.rglob("*"):
        if path.suffix in (".py", ".smk", ".yaml") or path.name == "Snakefile":
            os.utime(path)
    gru = finished.folder / "workflow/seqgrid/models/gru.py"
    gru.write_text("# a comment\n\n\n" + gru.read_text())
    study = finished.folder / "config/studies/small.yaml"
    study.write_text("# a comment\n" + study.read_text())
    for checkpoint in finished.folder.rglob("checkpoint.pt"):
        os.utime(checkpoint)
    assert finished.missing() == {}
    assert "stale" not in ran(finished.snakemake("status")).text


def test_adding_to_the_study_only_adds_jobs(finished):
    study = finished.folder / "config/studies/small.yaml"
    text = study.read_text()
    study.write_text(text.replace("seeds: 0..1", "seeds: 0..2"))
    assert finished.missing() == {"train": 4, "evaluate": 4, "collect": 1, "report": 1}
    study.write_text(text.replace("tasks:", "  lstm: {settings: {d_model: 8}}\ntasks:"))
    assert finished.missing() == {"train": 4, "evaluate": 4, "collect": 1, "report": 1}
    study.write_text(text.replace("examples: 32}\n", "examples: 32, lengths: [24]}\n"))
    study.write_text(text.replace("evaluation: {examples: 32}", "evaluation: {examples: 48}"))
    # Another test split evaluates again what has weights, and trains nothing.
    assert finished.missing() == {"evaluate": 6, "collect": 1, "report": 1}
    study.write_text(text.replace("Does the", "Why does the"))
    assert finished.missing() == {"collect": 1, "report": 1}
    study.write_text(text)
    assert finished.missing() == {}


def test_a_second_study_shares_cells_and_says_so(finished):
    finished.study(
        STUDY.replace("seeds: 0..1", "seeds: 0..2").replace("  gru: {", "  renamed: {model: gru, "),
        "second",
    )
    missing = finished.missing(study="second")
    assert missing == {"train": 4, "evaluate": 4, "collect": 1, "report": 1}


def test_edited_sources_are_stale_and_retrained_only_when_asked(finished):
    train_before = finished.missing()
    assert train_before == {}
    path = finished.folder / "workflow/seqgrid/models/gru.py"
    text = path.read_text()
    path.write_text(text + "\nSOMETHING_NEW = 1\n")
    try:
        assert finished.missing() == {"collect": 1, "report": 1}
        status = ran(finished.snakemake("status")).text
        assert "the sources of 4 trained cells have changed since" in status
        assert finished.missing("rerun=stale") == {
            "train": 4, "evaluate": 4, "collect": 1, "report": 1
        }  # fmt: skip
    finally:
        path.write_text(text)
    assert finished.missing() == {}


def test_forcing_every_job_trains_nothing_again(finished):
    before = {k: (v["ended_at"], v["attempts"]) for k, v in finished.outcomes().items()}
    cell = finished.cells("gru/*/L8/seed0*")[0]
    target = next(cell.glob("part1/evaluation-*.parquet")).relative_to(finished.folder)
    done = ran(finished.snakemake("-F", str(target)))
    assert "published again, nothing to train" in done.text
    assert {k: (v["ended_at"], v["attempts"]) for k, v in finished.outcomes().items()} == before


def test_status_is_a_matrix_and_fast(finished):
    text = ran(finished.snakemake("status")).stdout
    assert text.startswith("small: 8 cells")
    assert "small: 8 cells: 6 finished, 2 skipped" in text
    assert re.search(r"^gru +FF +FF$", text, re.M)
    assert re.search(r"^short +FF +SS$", text, re.M)


def test_one_cell_by_its_path(project):
    project.study(STUDY)
    assert project.missing("cell=gru/adding_problem/L8") == {"train": 2, "evaluate": 2}
    ran(project.snakemake("cell=gru/*/L8/seed0*"))
    assert len(project.outcomes()) == 1
    assert not (project.folder / "results/studies").exists()
    again = project.snakemake("cell=gru/*/L8/seed0*")
    assert "Nothing to be done" in again.text
    # The same by the file's own path.
    target = project.cells()[0].relative_to(project.folder) / "part1/outcome.json"
    assert "Nothing to be done" in project.snakemake(str(target)).text
    (project.folder / target).unlink()
    assert "published again" in ran(project.snakemake(str(target))).text


@pytest.mark.slow
def test_a_cut_run_is_resumed_by_the_next_invocation(project):
    project.study(
        STUDY.replace("steps: 30", "steps: 1500").replace("0..1", "[0]")
        + "part_seconds: 1\nstopping: {solved_validations: null}\n"
    )
    assert project.missing() == {"train": 4, "evaluate": 4, "collect": 1, "report": 1}
    ran(project.snakemake())
    cut = [o for o in project.outcomes().values() if o["outcome"] == "timed_out"]
    assert cut
    n = len(cut)
    assert project.missing() == {"resume": n, "evaluate": n, "collect": 1, "report": 1}
    report = (project.folder / "results/studies/small/report.md").read_text()
    assert "†" in report
    assert "part_seconds 1 used up" in report
    edited = (project.folder / "config/studies/small.yaml").read_text()
    project.study(edited.replace("part_seconds: 1\n", ""))
    ran(project.snakemake())
    second = project.outcomes("part2").values()
    assert [o["outcome"] for o in second] == ["finished"] * n
    assert all(o["progress"]["first_step"] > 0 for o in second)
    assert project.missing() == {}


@pytest.mark.slow
def test_with_restarts_a_cut_run_goes_on_within_one_invocation(project):
    project.study(
        STUDY.replace("steps: 30", "steps: 1500").replace("0..1", "[0]").replace("[8, 12]", "[8]")
        + "part_seconds: 1\nstopping: {solved_validations: null}\n"
    )
    done = project.snakemake("--restart-times", "20")
    ran(done)
    assert {o["outcome"] for o in project.outcomes().values()} == {"finished"}
    assert not project.outcomes("part2")
    assert max(o["attempts"] for o in project.outcomes().values()) > 1
    assert project.missing() == {}


@pytest.mark.slow
def test_a_failed_cell_blocks_nothing_and_is_rerun_alone(project):
    project.add("model", "failing", FAILING)
    (project.folder / "broken").touch()
    project.study(STUDY.replace("  short:", "  failing: {}\n  short:"))
    done = ran(project.snakemake())
    assert "RuntimeError: the kernel is missing" in done.text
    assert "Traceback" not in done.text
    status = ran(project.snakemake("status")).text
    assert "4 failed" in status
    assert "failed: failing adding_problem: RuntimeError: the kernel is missing" in status
    report = (project.folder / "results/studies/small/report.md").read_text()
    assert "the kernel is missing" in report
    assert project.missing() == {}
    (project.folder / "broken").unlink()
    assert project.missing("rerun=failed") == {
        "resume": 4, "evaluate": 4, "collect": 1, "report": 1
    }  # fmt: skip
    ran(project.snakemake("rerun=failed"))
    assert "12 cells: 10 finished, 2 skipped" in ran(project.snakemake("status")).text
    assert project.missing("rerun=failed") == {}


@pytest.mark.slow
def test_stale_cells_are_trained_anew_beside_the_old_result(project):
    project.study(STUDY.replace("seeds: 0..1", "seeds: [0]"))
    ran(project.snakemake())
    before = project.outcomes()
    path = project.folder / "workflow/seqgrid/models/gru.py"
    path.write_text(path.read_text() + "\nNEW = 1\n")
    ran(project.snakemake("rerun=stale"))
    assert project.outcomes() == before
    assert len(project.cells("*/*/L*/seed*/again1/part1/outcome.json")) == 2
    assert project.missing() == {}
    assert project.missing("rerun=stale") == {}
    assert "stale" not in ran(project.snakemake("status")).text


@pytest.mark.slow
def test_a_corrupt_result_is_named_and_made_again(project):
    project.study(STUDY.replace("seeds: 0..1", "seeds: [0]").replace("[8, 12]", "[8]"))
    ran(project.snakemake())
    gru, short = project.cells()[1], project.cells()[0]
    assert "gru" in str(gru)
    checkpoint = gru / "part1/checkpoint.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    (short / "part1/outcome.json").write_text("")
    status = ran(project.snakemake("status")).text
    assert "2 corrupt" in status
    assert "checkpoint.pt does not have the recorded content" in status
    assert project.missing() == {"resume": 2, "evaluate": 2, "collect": 1, "report": 1}
    ran(project.snakemake())
    assert {o["outcome"] for o in project.outcomes("part2").values()} == {"finished"}
    evaluation = next(gru.glob("part2/evaluation-*.parquet"))
    evaluation.write_bytes(b"PAR1 not really PAR1")
    assert project.missing() == {"evaluate": 1, "collect": 1, "report": 1}
    ran(project.snakemake())
    assert project.missing() == {}


def start(project, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "study=small", *arguments],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(project, pattern):
    deadline = time.monotonic() + 90
    while not list(project.folder.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(project.folder.glob(pattern))


LONG = (
    STUDY.replace("steps: 30", "steps: 2000").replace("[8, 12]", "[8]")
    + "checkpoint_seconds: 0.1\nstopping: {solved_validations: null}\n"  # or it is over too soon
)


def test_status_while_a_run_is_going_on_shows_who_works(project):
    project.study(LONG.replace("steps: 2000", "steps: 200000"))
    driver = start(project)
    wait_for(project, "results/cells/*/*/L*/seed*/part1/live/step*.pt")
    status = ran(project.snakemake("status")).stdout
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert re.search(r"\d running", status)
    assert re.search(r"(gru|attention)/adding_problem/L8/seed\d-\w+: step \d+ of 200000", status)
    assert "process " in status


@pytest.mark.slow
def test_ctrl_c_saves_what_there_is(project):
    project.study(LONG)
    driver = start(project)
    wait_for(project, "results/cells/*/*/L*/seed*/part1/live/step*.pt")
    os.killpg(driver.pid, signal.SIGINT)
    driver.wait(timeout=60)
    done = ran(project.snakemake())
    assert "goes on from" in done.text
    ends = {**project.outcomes(), **project.outcomes("part2")}
    assert {o["outcome"] for o in ends.values()} == {"finished"}
    assert project.missing() == {}


@pytest.mark.slow
def test_a_job_that_cannot_speak_leaves_the_others_in_the_report(project):
    # A supervisor killed together with its child leaves no outcome: the job fails.
    text = FAILING.replace(
        'raise RuntimeError("the kernel is missing")',
        "import os, signal\n        os.kill(os.getppid(), signal.SIGKILL)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)",
    )
    project.add("model", "failing", text)
    (project.folder / "broken").touch()
    project.study(STUDY.replace("  short:", "  failing: {}\n  short:").replace("0..1", "[0]"))
    done = project.snakemake()
    assert done.returncode != 0
    report = (project.folder / "results/studies/small/report.md").read_text()
    assert "died underway" in report
    assert project.missing() == {"train": 2, "evaluate": 2, "collect": 1, "report": 1}
    (project.folder / "broken").unlink()
    ran(project.snakemake())
    assert project.missing() == {}


@pytest.mark.slow
def test_a_new_model_and_a_new_task_are_one_file_each(project):
    models = project.folder / "workflow/seqgrid/models"
    (models / "mine.py").write_text((models / "gru.py").read_text())
    tasks = project.folder / "workflow/seqgrid/tasks"
    (tasks / "own.py").write_text((tasks / "adding_problem.py").read_text())
    project.study(
        STUDY.replace("  short:", "  mine: {settings: {d_model: 8}}\n  short:")
        .replace("adding_problem: {}", "own: {}")
        .replace("0..1", "[0]")
    )
    ran(project.snakemake())
    assert any(path.startswith("mine/own/") for path in project.outcomes())
    assert {o["outcome"] for o in project.outcomes().values()} == {"finished", "skipped"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["study=smal"], "study: 'smal' is not a file in config/studies"),
        (["rerun=faild"], "rerun: 'faild' is not a state; allowed: finished, timed_out"),
        (["cell=gru/none"], "cell: 'gru/none' matches no cell of the study"),
        (
            ["studdy=x"],
            "'studdy' is not a setting; allowed: study, rerun, cell; did you mean 'study'?",
        ),
    ],
)
def test_a_mistake_on_the_command_line_gets_one_line(project, arguments, line):
    project.study(STUDY)
    pairs = arguments if arguments[0].startswith("study=") else ["study=small", *arguments]
    done = project.run("snakemake", "-n", "--cores", "1", "--config", *pairs)
    assert done.returncode != 0
    said = [x for x in done.stderr.splitlines() if not x.startswith(("Using", "Config file"))]
    assert len(said) == 1, done.stderr
    assert line in said[0]


def test_a_mistake_in_a_study_gets_one_line_each(project):
    project.study(STUDY.replace("gru: {", "gruu: {").replace("batch_size: 8", "batch_size: -8"))
    done = project.snakemake("-n")
    assert done.returncode != 0
    said = [x for x in done.stderr.splitlines() if not x.startswith(("Using", "Config file"))]
    assert any("training.batch_size" in x and "-8" in x for x in said)
    assert all(x.startswith("config/studies/small.yaml: ") for x in said)


def test_neither_status_nor_the_snakefile_imports_torch_or_pandas(project):
    project.study(STUDY)
    probe = (
        "import sys, runpy; sys.argv = ['status', 'small'];"
        "import seqgrid.driver, seqgrid.status;"
        "seqgrid.driver.start({'study': 'small'});"
        "seqgrid.status.main(['small']);"
        "print(sorted({'torch', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=project.folder, env=project.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "[]"


def numbers(project):
    """Minutes and MB that each training's job had, by length and seed."""
    found = {}
    for cell, outcome in project.outcomes().items():
        _, _, length, seed = cell.split("/")
        key = f"{length}/{seed.partition('-')[0]}"
        found[key] = outcome["asked_minutes"], outcome["asked_mb"]
    return found


def profile(project, name, text):
    folder = project.folder / "profiles" / name
    folder.mkdir()
    (folder / "config.yaml").write_text(text)
    return "--profile", f"profiles/{name}"


@pytest.mark.slow
def test_jobs_ask_for_what_others_took_and_a_profile_has_the_last_word(project):
    project.study(STUDY)
    ran(project.snakemake("cell=gru/*/L8/seed0*"))
    assert numbers(project) == {"L8/seed0": (60, 4096)}  # nothing was known
    site = profile(
        project,
        "site",
        "default-resources: {runtime: 2h, mem_mb: 3000, max_mem_mb: 1200}\n"
        "set-resources: {train: {runtime: 7}}\n",
    )
    ran(project.snakemake("cell=gru/*/L12/seed0*", *site))
    ran(project.snakemake("cell=gru/*/L8/seed1*"))
    assert numbers(project) == {
        "L8/seed0": (60, 4096),
        "L12/seed0": (7, 1200),  # set outright, and the most that the profile allows
        "L8/seed1": (5, 1024),  # from an equal cell
    }


@pytest.mark.slow
def test_a_profile_has_the_first_guess(project):
    project.study(STUDY)
    site = profile(project, "site", "default-resources: {runtime: 2h, mem_mb: 3000}\n")
    ran(project.snakemake("cell=gru/*/L8/seed0*", *site))
    assert numbers(project) == {"L8/seed0": (120, 3000)}


@pytest.mark.slow
def test_a_jobs_own_process_asks_what_the_driver_planned_without_planning(project):
    project.study(STUDY)
    ran(project.snakemake("cell=gru/*/L8/seed0*"))
    prepare = "from seqgrid import driver; driver.start({'study': 'small'}).prepare(0)"
    subprocess.run(
        [sys.executable, "-c", prepare],
        cwd=project.folder,
        env=project.environment,
        check=True,
    )
    # A look at the grid changes nothing of what the jobs under way read.
    cell = next(c for c in project.cells("gru/*/L8/seed1*"))
    execution = cell / "execution.json"
    before = execution.read_text()
    site = profile(project, "site", "default-resources: {runtime: 2h, max_mem_mb: 700}\n")
    ran(project.snakemake("status", *site))
    assert execution.read_text() == before
    (project.folder / "config/studies/small.yaml").write_text("no study any more")
    name = cell.relative_to(project.folder / "results/cells")
    done = project.run(
        "snakemake", "--snakefile", "Snakefile", "--target-jobs", f"train:cell={name}",
        "--allowed-rules", "train", "--cores", "1", "--force-use-threads", "--force", "--nolock",
        "--mode", "subprocess", "--config", "study=small",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert numbers(project)["L8/seed1"] == (5, 1024)


@pytest.mark.slow
def test_what_jobs_ask_for_does_not_keep_them_from_running_here(project):
    """A local run has neither the memory nor the hours; nothing waits for them."""
    project.study(STUDY)
    huge = "{runtime: 90000, mem_mb: 900000000, max_runtime: 90000, max_mem_mb: 900000000}"
    site = profile(project, "site", f"default-resources: {huge}\n")
    done = ran(project.snakemake("cell=gru/*/L8/*", *site))
    assert set(numbers(project).values()) == {(90000, 900000000)}
    assert "Execute 2 jobs" in done.text
