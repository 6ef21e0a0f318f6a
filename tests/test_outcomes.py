"""Every way a part can end is reached by a real run, exits 0 and says why."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from faults import FAULTS

STUDY = """
question: How does a part end?
models:
  {label}: {{settings: {{{settings}}}}}
tasks: {{adding_problem: {{}}}}
lengths: [8]
seeds: [0]
training: {{steps: 40, batch_size: 16, {training}}}
validation: {{every_steps: 10, examples: 64}}
stopping: {{{stopping}}}
evaluation: {{examples: 32}}
checkpoint_seconds: {checkpoint_seconds}
"""

MODEL = '''
"""A model that misbehaves."""
import os, signal
from torch import nn
from seqgrid import registry
from seqgrid.settings import BackboneSettings

class Settings(BackboneSettings):
    """None."""
    forget_bias: float = 0.0

class Trouble(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0
        for name in ("num_parameters", "backend", "causal", "max_seqlen"):
            setattr(self, name, getattr(inner, name, None))
        self.state_bytes = inner.state_bytes
        self.flops_per_token = inner.flops_per_token
    def forward(self, x):
        self.calls += 1
        {trouble}
        return self.inner(x)

def build(settings, shape):
    return Trouble(registry.make_model("gru", dict(d_model=8, num_layers=1), shape))
'''


def write_study(
    project,
    label="gru",
    settings="d_model: 8, num_layers: 1",
    training="",
    stopping="",
    checkpoint_seconds=60,
):
    project.study(
        STUDY.format(
            label=label,
            settings=settings,
            training=training,
            stopping=stopping,
            checkpoint_seconds=checkpoint_seconds,
        )
    )


def run_cell(project, preexec_fn=None):
    """Plan and train the study's one cell as its job would; returns the outcome and the output."""
    code = (
        "from seqgrid import driver; d = driver.start({'study': 'small'}); d.prepare(0);"
        "print(d.collected[0])"
    )
    planned = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    part = project.folder / planned.stdout.strip()
    part = part.parent
    done = subprocess.run(
        [sys.executable, "-m", "seqgrid.train", str(part.parent.relative_to(project.folder))],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        preexec_fn=preexec_fn,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    for name in ("checkpoint.pt", "history.parquet", "outcome.json"):
        assert (part / name).exists(), name
    return json.loads((part / "outcome.json").read_text()), done.stderr, part


def test_finished_by_its_budget(project):
    write_study(project)
    outcome, said, part = run_cell(project)
    assert (outcome["outcome"], outcome["reason"]) == ("finished", "budget of 40 steps")
    assert outcome["progress"]["step"] == 40
    assert "finished, budget of 40 steps" in said
    history = pq.read_table(part / "history.parquet").to_pylist()
    assert [row["step_steps"] for row in history] == [10, 20, 30, 40]
    provenance = outcome["provenance"]
    for key in ("source_digest", "versions", "host", "device", "dtype", "backend", "threads"):
        assert provenance[key], key
    assert provenance["versions"]["torch"]
    progress = outcome["progress"]
    for key in ("training_seconds", "validation_seconds", "peak_memory_bytes", "parameters"):
        assert progress[key] > 0, key
    assert progress["state_bytes"] > 0
    assert outcome["started_at"] < outcome["ended_at"]


def test_finished_because_solved(project):
    write_study(
        project,
        settings="d_model: 32, num_layers: 1",
        training="learning_rate: 1e-2",
        stopping="solved_validations: 2",
    )
    text = (project.folder / "config/studies/small.yaml").read_text()
    project.study(
        text.replace("steps: 40", "steps: 3000").replace("batch_size: 16", "batch_size: 64")
    )
    outcome, _, _ = run_cell(project)
    assert outcome["outcome"] == "finished"
    assert outcome["reason"].startswith("solved at step")
    progress = outcome["progress"]
    assert progress["step"] < 3000
    assert progress["solved_step"] < progress["step"]
    assert 0 < progress["solved_seconds"] <= progress["training_seconds"]


def test_finished_on_a_plateau_but_never_at_chance_unless_told_to(project):
    # A learning rate of nothing learns nothing: the metric stays at chance.
    write_study(project, training="learning_rate: 1e-12", stopping="plateau_validations: 2")
    outcome, _, _ = run_cell(project)
    assert outcome["reason"] == "budget of 40 steps"
    write_study(
        project,
        training="learning_rate: 1e-12",
        stopping="plateau_validations: 2, plateau_at_chance: true",
    )
    outcome, _, _ = run_cell(project)
    assert outcome["reason"].startswith("plateau: no better validation since step")
    assert outcome["progress"]["step"] < 40


def test_finished_by_a_budget_of_seconds(project):
    write_study(project, training="seconds: 0.05")
    text = (project.folder / "config/studies/small.yaml").read_text()
    project.study(text.replace("steps: 40", "steps: 100000"))
    outcome, _, _ = run_cell(project)
    assert (outcome["outcome"], outcome["reason"]) == (
        "finished",
        "budget of 0.05 training seconds",
    )


def test_skipped_with_the_models_reason(project):
    write_study(project, label="attention", settings="positions: learned, max_seqlen: 4")
    outcome, said, part = run_cell(project)
    assert outcome["outcome"] == "skipped"
    assert "4" in outcome["reason"]
    assert (part / "checkpoint.pt").stat().st_size == 0
    assert "skipped" in said


def test_diverged_keeps_the_best_weights(project):
    project.add("model", "trouble", MODEL.format(trouble=(
        "if self.training and self.calls > 25: return self.inner(x) * float('nan')")))  # fmt: skip
    write_study(project, label="trouble", settings="")
    outcome, said, part = run_cell(project)
    assert outcome["outcome"] == "diverged"
    FAULTS["NaN"].assert_seen(said)
    assert "not finite" in outcome["reason"]
    assert outcome["progress"]["best_step"] in (10, 20)
    assert (part / "checkpoint.pt").stat().st_size > 0


def test_failed_with_its_traceback(project):
    project.add("model", "trouble", MODEL.format(trouble=(
        "if self.calls > 25: raise KeyError('no such gate')")))  # fmt: skip
    write_study(project, label="trouble", settings="")
    outcome, said, _ = run_cell(project)
    assert outcome["outcome"] == "failed"
    assert outcome["reason"] == "KeyError: 'no such gate'"
    assert "raise KeyError" in outcome["error"]
    FAULTS["exception"].assert_seen(said)
    assert "outcome.json" in said


def test_a_missing_file_in_model_code_is_a_failure_and_no_reason_to_try_again(project):
    trouble = "open('/no/such/table')"
    project.add("model", "trouble", MODEL.format(trouble=trouble))
    write_study(project, label="trouble", settings="")
    outcome, _, _ = run_cell(project)
    assert outcome["outcome"] == "failed"
    assert outcome["reason"].startswith("FileNotFoundError")


def test_a_model_file_that_does_not_import_fails_the_cell_alone(project):
    text = MODEL.format(trouble="pass") + "\nimport a_package_nobody_has\n"
    project.add("model", "trouble", text)
    write_study(project, label="trouble", settings="")
    outcome, _, _ = run_cell(project)
    assert outcome["outcome"] == "failed"
    assert "a_package_nobody_has" in outcome["reason"]


@pytest.mark.slow
def test_killed_after_three_deaths_without_progress(project):
    project.add("model", "trouble", MODEL.format(trouble=(
        "if self.calls > 5: os.kill(os.getpid(), signal.SIGKILL)")))  # fmt: skip
    write_study(project, label="trouble", settings="")
    outcome, said, _ = run_cell(project)
    assert outcome["outcome"] == "killed"
    FAULTS["three deaths"].assert_seen(said)
    assert (outcome["attempts"], outcome["silent_deaths"]) == (3, 3)
    assert "OUT_OF_MEMORY" not in outcome["reason"]


@pytest.mark.slow
def test_a_crash_of_the_interpreter_is_an_outcome_too(project):
    project.add("model", "trouble", MODEL.format(trouble=(
        "if self.calls > 5: os.kill(os.getpid(), signal.SIGSEGV)")))  # fmt: skip
    write_study(project, label="trouble", settings="")
    outcome, _, _ = run_cell(project)
    assert outcome["outcome"] == "killed"
    assert "SIGSEGV" in outcome["reason"]


@pytest.mark.slow
def test_a_death_with_progress_in_between_does_not_count_up(project):
    # Dies on every 12th call, saves after every step: each attempt gets further.
    project.add("model", "trouble", MODEL.format(trouble=(
        "if self.training and self.calls > 12: os.kill(os.getpid(), signal.SIGKILL)")))  # fmt: skip
    write_study(project, label="trouble", settings="", checkpoint_seconds=1e-9)
    outcome, _, _ = run_cell(project)
    assert outcome["outcome"] == "finished"
    assert outcome["silent_deaths"] >= 3


def test_out_of_memory(project):
    write_study(project)
    text = (project.folder / "config/studies/small.yaml").read_text()
    project.study(text.replace("batch_size: 16", "batch_size: 4000000"))

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

    outcome, _, _ = run_cell(project, preexec_fn=limit)
    assert outcome["outcome"] == "out_of_memory"
    assert outcome["progress"]["peak_memory_bytes"] > 0


@pytest.fixture
def memory_group():
    """A control group of 600 MB; the function puts the process that calls it inside."""
    top = Path("/sys/fs/cgroup")
    memory, limit = top / "memory", "memory.limit_in_bytes"
    if not memory.is_dir():
        memory, limit = top, "memory.max"
    group = memory / f"seqgrid-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(600 << 20))
    except OSError:
        if group.is_dir():
            group.rmdir()
        pytest.skip("needs leave to make a control group of limited memory")
    yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    deadline = time.monotonic() + 20
    while group.is_dir() and time.monotonic() < deadline:
        try:
            group.rmdir()
        except OSError:  # the dead are not yet out
            time.sleep(0.1)


@pytest.mark.slow
def test_a_kernel_short_of_memory_is_told_from_another_kill(project, memory_group):
    write_study(project)
    text = (project.folder / "config/studies/small.yaml").read_text()
    project.study(text.replace("batch_size: 16", "batch_size: 400000"))
    outcome, said, _ = run_cell(project, preexec_fn=memory_group)
    assert outcome["outcome"] == "killed"
    assert "OUT_OF_MEMORY, signal 9 (SIGKILL)" in outcome["reason"]
    assert outcome["last_death"]["state"] == "OUT_OF_MEMORY"
    # Outside of a job nobody could give it more: it ends here, after as many deaths as any other.
    assert outcome["silent_deaths"] == said.count("at step 0; goes on") == 3


def test_a_budget_of_seconds_ends_with_a_validation(project):
    write_study(project, training="seconds: 0.05")
    text = (project.folder / "config/studies/small.yaml").read_text()
    text = text.replace("steps: 40", "steps: 100000")
    project.study(text.replace("every_steps: 10", "every_steps: 50000"))
    outcome, _, part = run_cell(project)
    assert outcome["outcome"] == "finished"
    history = pq.read_table(part / "history.parquet").to_pylist()
    assert [row["step_steps"] for row in history] == [outcome["progress"]["step"]]
    assert outcome["progress"]["best_step"] == outcome["progress"]["step"]


def test_a_model_whose_unable_fails_is_a_failed_cell(project):
    text = MODEL.format(trouble="pass").replace(
        "forget_bias: float = 0.0",
        "forget_bias: float = 0.0\n    def unable(self, seqlen):\n        return LIMIT",
    )
    project.add("model", "trouble", text + "\nLIMIT = None\n")
    write_study(project, label="trouble", settings="")
    outcome, _, _ = run_cell(project)
    assert outcome["outcome"] == "failed"
    assert "Settings.unable of models/trouble.py: NameError" in outcome["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["results/cells/gru"], "not a cell's folder"),
        (["results/cells/gru/mqar/L8/seed0-0123456789"], "no cell.json there"),
    ],
)
def test_a_wrong_call_gets_one_line(project, arguments, words):
    done = project.run("seqgrid.train", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
