import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import synthct
from synthct.data.errors import DataError, MachineError, UsageError
from synthct.flows.cli.app import command_line, commands
from synthct.flows.exits import guarded

ROOT = Path(__file__).resolve().parent.parent.parent
DESIGNED = {"forecast", "reconstruct", "explain",
    "run", "stage", "key", "init", "ingest", "register", "predict", "sign", "verify", "watch",
    "evaluate", "regularizers", "study", "report", "compare", "params", "serve", "doctor",
}  # fmt: skip
HEAVY = (
    "torch", "prefect", "distributed", "dask", "zarr", "monai", "SimpleITK", "scipy", "numpy",
    "pydantic", "yaml", "synthct.data.readers", "synthct.tasks.chain",
)  # fmt: skip


def names():
    return [each.callback.__name__ for each in commands.registered_commands]


def test_only_what_is_built_is_listed():
    assert set(names()) == DESIGNED


def test_help_loads_nothing_heavy_and_works_with_the_base_dependencies():
    script = (
        "import sys\nfrom synthct.flows.cli.app import command_line\n"
        f"assert command_line(['--help']) == 0\nprint([n for n in {HEAVY!r} if n in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("name", sorted(DESIGNED))
def test_every_command_explains_itself_with_an_example(name, capsys):
    assert command_line([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert shown.count(f"synthct {name}") >= 2  # the usage line and an example


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["run", "--clustr", "here"], "--cluster"),
        (["run", "--port", "99999"], "--port"),
        (["register", "--fixed", "a.mha"], "--moving"),
        (["ingest", "a", "--dataset", "Bad Name"], "lower-case"),
        (["ingest", "a", "--dataset", "x", "--region", "knee"], "head-neck"),
        (["regularizers", "cutuot"], "did you mean 'cutout'?"),
        (["run", "--cluster", "slrum"], "did you mean 'slurm'?"),
        (["run", "--preset", "no-such"], "there is no preset 'no-such'"),
        (["run", "--until", "trainig"], "stages: "),
    ],
)
def test_usage_error_is_one_line_with_exit_code_2(arguments, told, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert command_line(arguments) == 2
    shown = capsys.readouterr()
    (line,) = [each for each in shown.err.splitlines() if each.startswith("synthct: ")]
    assert told in line
    assert "Traceback" not in shown.err


def test_outside_a_checkout_the_chain_says_where_to_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command_line(["run"]) == 2
    assert "cd into the checkout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UsageError("a rule", where="key"), 2, "key: a rule"),
        (DataError("two", where="scan.mha", rule="a rule"), 2, "scan.mha: two; a rule"),
        (MachineError("a rule", remedy="do this"), 1, "a rule; do this"),
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: no space left on the device"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: "),
        (KeyboardInterrupt(), 1, "resumes where it left off"),
        (ModuleNotFoundError("no", name="torch.nn"), 1, ".[train]"),
        (ZeroDivisionError("two\nlines"), 1, "ZeroDivisionError: two lines; this is a bug"),
    ],
)
def test_whatever_stops_a_command_is_reported_in_one_line(error, code, told, capsys):
    def stop():
        raise error

    assert guarded(stop) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("SYNTHCT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


def test_catalogue_is_for_machines_too(capsys):
    assert command_line(["regularizers", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"cutout", "gradient_norm", "norm_loss"} <= {entry["name"] for entry in entries}


def test_doctor_never_shows_credentials(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRETNAME")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-value")
    assert command_line(["doctor", "--json"]) in (0, 1)
    shown = capsys.readouterr().out
    assert "SECRETNAME" not in shown
    assert "very-secret" not in shown
    about = {each["about"]: each for each in json.loads(shown)}
    assert about["S3 credentials"]["found"] == "in the environment"


def test_register_tells_verdict_and_files_and_ends_by_the_exit_codes(tmp_path, capsys, monkeypatch):
    """The command around the registration: what is passed on, printed and returned."""
    asked = {}

    def done(fixed, moving, **options):
        asked.update(options)
        options["progress"]("read")
        quality = {"verdict": options["preset"], "step": "rigid", "reason": "because"}
        return synthct.Registration(None, None, quality)

    monkeypatch.setattr(synthct, "register", done)
    line = ["register", "--fixed", "a.mha", "--moving", "b.mha", "--out", str(tmp_path)]
    line += ["--initial", "one.tfm", "--initial", "two.tfm"]
    assert command_line([*line, "--preset", "suspect"]) == 0
    assert capsys.readouterr().out.startswith("suspect, rigid step (because)")
    assert command_line([*line, "--preset", "fail", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "fail"
    assert asked["initial"] == [Path("one.tfm"), Path("two.tfm")]
