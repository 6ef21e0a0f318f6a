"""Commands that cannot write, or are stopped: one line, no traceback."""

import errno
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from tables_factory import Tables

from seqgrid import __main__ as command
from seqgrid.report import __main__ as report


@pytest.fixture
def ends(monkeypatch, capsys):
    """A function that runs a command which raises: its exit code and what it says."""

    def run(problem):
        def main(arguments):
            raise problem

        module = SimpleNamespace(main=main)
        monkeypatch.setattr(command.importlib, "import_module", lambda _: module)
        monkeypatch.setattr(command, "_silence", lambda: None)
        return command.main(["cost"]), capsys.readouterr().err

    return run


def test_a_full_disk_is_one_line(ends):
    problem = OSError(errno.ENOSPC, "No space left on device")
    assert ends(problem) == (1, "seqgrid cost: its output: No space left on device\n")


def test_a_file_is_named(ends):
    problem = PermissionError(errno.EACCES, "Permission denied", "a.csv")
    assert ends(problem) == (1, "seqgrid cost: a.csv: Permission denied\n")


def test_a_reader_that_has_enough_is_no_mistake(ends):
    assert ends(BrokenPipeError(errno.EPIPE, "Broken pipe")) == (1, "")


def test_a_command_that_is_stopped_says_so(ends):
    assert ends(KeyboardInterrupt()) == (130, "seqgrid cost: stopped\n")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return Tables().cells("gru", "t", 16, [0.5]).write(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("name", ["verdicts.parquet", "figures", "report.html"])
def test_a_report_that_cannot_be_written_is_one_line(tables, monkeypatch, capsys, name):
    monkeypatch.setattr(report.figures, "draw", lambda *_: {})
    if name == "figures":
        full = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(report.figures, "draw", lambda *_: (_ for _ in ()).throw(full))
        name = ""
    else:
        (tables / name).unlink(missing_ok=True)
        (tables / name).mkdir()
    assert report.main([str(tables)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tables / name}: ")
    assert line.endswith("; the report could not be written")
    if name:
        (tables / name).rmdir()


def test_the_nearest_study_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = tmp_path / "results/studies/quickstart/cells.parquet"
    cells.parent.mkdir(parents=True)
    cells.touch()
    assert report.main(["quikstart"]) == 2
    assert "did you mean 'quickstart'?" in capsys.readouterr().err


@pytest.mark.parametrize("about", ["{", "[1]"])
def test_tables_that_lost_what_their_study_declares_are_refused(tmp_path, capsys, about):
    folder = Tables().cells("gru", "t", 16, [0.5]).write(tmp_path)
    cells = pq.read_table(folder / "cells.parquet")
    metadata = {**cells.schema.metadata, b"seqgrid.study": about.encode()}
    pq.write_table(cells.replace_schema_metadata(metadata), folder / "cells.parquet")
    assert report.main([str(folder)]) == 2
    assert "does not say what its study declares" in capsys.readouterr().err
