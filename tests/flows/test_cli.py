import json
import os
import resource
import subprocess
import sys
from collections import defaultdict
from importlib import metadata
from pathlib import Path

import pytest
import typer

import synthct
from synthct.data.errors import DataError, MachineError, UsageError
from synthct.flows.cli.app import command_line, commands
from synthct.flows.exits import guarded, table
from synthct.tasks.pipeline.packages import COMPUTING

ROOT = Path(__file__).resolve().parent.parent.parent
DESIGNED = {"forecast", "reconstruct", "help", "completion", "view", "explain",
    "run", "stage", "key", "init", "ingest", "register", "predict", "sign", "verify", "watch",
    "evaluate", "regularizers", "study", "report", "compare", "params", "serve", "doctor",
}  # fmt: skip
HEAVY = (
    "torch", "prefect", "distributed", "dask", "zarr", "monai", "SimpleITK", "scipy", "numpy",
    "pydantic", "yaml", "rich", "synthct.data.readers", "synthct.tasks.chain",
)  # fmt: skip


def names():
    return [each.callback.__name__ for each in commands.registered_commands]


def test_only_what_is_built_is_listed():
    assert set(names()) == DESIGNED


ALIKE = {
    "--threads": "registration depends on their number, prediction does not: 0 is all cores",
    "--uncertainty": "a watcher names its files itself",
    "--out": "a file, a folder, or what predict's suffix says",
}
"""Options that differ between commands, and why they may."""


def option_shapes():
    shapes = defaultdict(set)
    for name, command in typer.main.get_command(commands).commands.items():
        for option in (each for each in command.params if each.param_type_name == "option"):
            shapes[option.opts[0]].add((option.metavar, option.type_descriptor.annotation))
            assert option.help or option.name in ("fixed", "moving", "input"), (name, option.name)
    return shapes


def test_one_name_of_an_option_means_two_things():
    found = {name for name, shapes in option_shapes().items() if len(shapes) > 1}
    assert found - set(ALIKE) == set()


@pytest.mark.parametrize("name", sorted(DESIGNED - {"serve", "stage", "completion"}))
def test_a_result_cannot_be_read_by_a_program(name):
    """Every command that prints a result prints it as JSON on request, by a flag."""
    command = typer.main.get_command(commands).commands[name]
    (option,) = [each for each in command.params if "--json" in each.opts]
    assert option.is_flag


def test_the_version_names_what_computes(capsys):
    assert command_line(["--version"]) == 0
    told = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert told["synthct"] == metadata.version("synthct")
    assert told["torch"] == metadata.version("torch")
    assert set(COMPUTING.values()) < set(told)


def test_a_topic_is_listed_but_not_explained(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert command_line(["help", "--json"]) == 0
    titles = json.loads(capsys.readouterr().out)
    assert {"exit-codes", "environment", "formats", "presets", "params", "register"} <= set(titles)
    for topic, title in titles.items():
        assert command_line(["help", topic]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"# {title}\n")
        assert "](" not in shown
    assert command_line(["help", "exit-kodes"]) == 2
    assert "did you mean 'exit-codes'?" in capsys.readouterr().err


def test_the_page_of_exit_codes_says_other_than_the_code(capsys):
    assert table() in (ROOT / "docs/reference/exit-codes.md").read_text()
    assert command_line(["help", "exit-codes"]) == 0
    assert table() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("synthct re", "register"),
        ("synthct help exit", "exit-codes"),
        ("synthct run --dry", "--dry-run"),
    ],
)
def test_bash_completes_nothing(words, wanted, tmp_path):
    """As bash does it: the printed script is sourced and its function is called."""
    script = tmp_path / "completion.bash"
    here = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}"}
    made = subprocess.run(
        ["synthct", "completion", "bash"], env=environment, capture_output=True, check=True
    )
    script.write_bytes(made.stdout)
    ask = (
        f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}; "
        '_synthct_completion synthct; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    told = subprocess.run(
        ["bash", "-c", ask], env=environment, capture_output=True, text=True, check=True
    )
    assert wanted in told.stdout.split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_asks_synthct(shell, capsys):
    assert command_line(["completion", shell]) == 0
    assert f"_COMPLETE=complete_{shell}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "stages"),
    [
        ("run --preset sts51_short --until registration", ["ingestion", "registration"]),
        ("study --grid presets/bias.yaml", ["cohort", "ingestion", "registration", "study"]),
    ],
)
def test_a_dry_run_makes_a_workspace(line, stages, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    listed = ["git", "status", "--porcelain", "--ignored"]
    before = subprocess.run(listed, capture_output=True, check=True).stdout
    assert command_line([*line.split(), "--dry-run", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["stages"]) == stages
    assert subprocess.run(listed, capture_output=True, check=True).stdout == before


def test_a_dry_run_takes_a_stage_that_there_is_not(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert command_line(["run", "--preset", "sts51_short", "--until", "trainig", "--dry-run"]) == 2
    assert "stages: ingestion" in capsys.readouterr().err


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


def test_help_keeps_nobody_waiting():
    def cpu_s():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        script = "from synthct.flows.cli.app import command_line\ncommand_line(['--help'])"
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_s() for _ in range(3)) < 0.5


def test_help_shows_whole_sentences_and_examples_as_they_are_typed(capsys):
    assert command_line(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "..." not in shown.split("Commands:")[1]
    assert "\n    synthct run --preset mine              then train" in shown


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
        (["run", "--prefect-port", "99999"], "--prefect-port"),
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


def test_the_error_of_a_single_stage_looks_unlike_every_other(capfd, monkeypatch):
    """It comes from a process of its own."""
    monkeypatch.chdir(ROOT)
    assert command_line(["stage", "registratoin"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("synthct: no stage is called 'registratoin'; stages: cohort, ")


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
        (
            KeyboardInterrupt(),
            1,
            "the pipeline resumes, a single scan starts anew",
        ),
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
    assert command_line([*line, "--settings", "suspect"]) == 0
    assert capsys.readouterr().out.startswith("suspect, rigid step (because)")
    assert command_line([*line, "--settings", "fail", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "fail"
    assert asked["initial"] == [Path("one.tfm"), Path("two.tfm")]
