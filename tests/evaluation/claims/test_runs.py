"""Runs of real recipes at the least size: kept, not run again, gone on with after a death; a claim from end to end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.texts import read_texts
from evaluation.claims.experiments import Plan, chosen, experiments, read_experiment
from evaluation.claims.runs import LEAST_TEXT, SeededRun, TrainingEnded, texts_folder
from evaluation.claims.suite import run_claims
from train.engine.trainer import TaskTrainer

EXPERIMENT = """
paper: A paper
task: a task
runs:
  wide:
    recipe: text_language_model
    set: {steps: 6, checkpoint_every: 2, log_every: 2, bf16: false, task_settings.texts: texts,
      task_settings.vocabulary: 270, task_settings.hidden_size: 16, task_settings.layers: 1, task_settings.heads: 2,
      task_settings.intermediate_size: 16, task_settings.length: 48, task_settings.rows: 2, task_settings.items: 16,
      task_settings.passkey_tokens: 0, task_settings.scored_rows: 2}
  narrow: {like: wide, set: {task_settings.hidden_size: 4}}
claims:
  wider: {says: s, paper: p, run: wide, against: narrow, figure: [perplexity], better: lower, margin: 0.1}
"""


class Death(BaseException):
    """Of a process, as far as files can tell."""


@pytest.fixture(autouse=True)
def place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(4):
        (tmp_path / f"texts/{number}.txt").write_text(f"{number} red bells ring in the snow. " * 40, encoding="utf-8")
    path = tmp_path / "paper.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return read_experiment(path)


def records(out: Path) -> dict[str, dict]:
    return {
        str(path.relative_to(out)): json.loads(path.read_text(encoding="utf-8"))["figures"]
        for path in sorted(out.rglob("figures.json"))
    }


def test_runs_are_kept_and_a_dead_one_goes_on(plan, tmp_path, monkeypatch):
    whole = run_claims([(plan, ["wider"])], [100], tmp_path / "whole")
    assert "wider" in whole
    assert (tmp_path / "whole/report.html").is_file()

    step, out, steps = TaskTrainer.training_step, tmp_path / "out", []

    def dying(self, *args, **kwargs):
        steps.append(self.state.global_step)
        if len(steps) == 9:  # in the second run, behind its first checkpoint
            raise Death
        return step(self, *args, **kwargs)

    monkeypatch.setattr(TaskTrainer, "training_step", dying)
    with pytest.raises(Death):
        run_claims([(plan, ["wider"])], [100], out)
    assert len(records(out)) == 1
    assert run_claims([(plan, ["wider"])], [100], out) == whole
    assert steps == [0, 1, 2, 3, 4, 5, 0, 1, 2, 2, 3, 4, 5], "the first run is not run again, the second goes on"
    assert records(out) == records(tmp_path / "whole")
    assert run_claims([(plan, ["wider"])], [100], out) == whole
    assert len(steps) == 13
    assert list(out.rglob("checkpoint-*")) == []


def test_a_training_that_fails_ends_the_command(plan, tmp_path, capsys):
    plan.runs["narrow"].values["task_settings.heads"] = 0
    with pytest.raises(TrainingEnded, match="narrow failed") as ended:
        SeededRun(plan, "narrow", 100, tmp_path / "out").complete()
    assert ended.value.code == 2
    assert "heads must be an integer, at least 1, not 0" in capsys.readouterr().err


def test_pythons_reference_is_a_folder_of_texts(tmp_path):
    folder = texts_folder(tmp_path)
    texts = read_texts(folder)
    assert len(texts) > 20 and all(len(text.content) >= LEAST_TEXT for text in texts)
    assert texts_folder(tmp_path) == folder


def test_figures_of_other_settings_are_refused(plan, tmp_path):
    run = SeededRun(plan, "narrow", 100, tmp_path / "out")
    run.folder.mkdir(parents=True)
    (run.folder / "figures.json").write_text(json.dumps({"settings": {"seed": 1}, "figures": {}}), encoding="utf-8")
    with pytest.raises(ValueError, match="of other settings than the experiment paper has: give another --out"):
        run.complete()


def test_figures_depend_on_the_parts_that_a_run_starts_from(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.claims.runs.WEIGHTS", tmp_path)
    plan.settings.parts.append("encoder")
    (tmp_path / "nano/encoder").mkdir(parents=True)
    found = []
    for content in ("before", "after a training"):
        (tmp_path / "nano/encoder/weights").write_text(content, encoding="utf-8")
        found.append(SeededRun(plan, "narrow", 100, tmp_path / "out").settings)
    assert found[0] != found[1]


def shrunk(name: str, tmp_path: Path) -> Plan:
    """A shipped experiment of few steps, dialogues and rows."""
    [(plan, _)] = chosen([name])
    for run in plan.runs.values():
        run.values.update({"steps": 1, "checkpoint_every": 1})
        if "task_settings.dialogues" in run.values:
            run.values["task_settings.dialogues"] = 16
        if run.values.get("task_settings.held_out", 0) >= 1:
            run.values["task_settings.held_out"] = 4
        for settings in run.measure.values():
            settings["count"] = 2
    return plan


@pytest.fixture
def fresh():
    """Shipped experiments as they are read, whatever a test has made of them."""
    experiments.cache_clear()
    yield
    experiments.cache_clear()


def test_a_shipped_claim_from_end_to_end(fresh, tmp_path):
    plan = shrunk("llama_adapter", tmp_path)
    said = run_claims([(plan, ["zero_initialised_gates"])], [1, 2], tmp_path / "out")
    assert "a development seed" in said
    results = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    [entry] = results["claims"]
    assert entry["seeds"] == [1, 2]
    assert all(0 < value < 20 for values in entry["values"].values() for value in values)
    assert entry["verdict"] in said
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Gates that start at zero" in page
    assert f"{entry['difference']:+.3f}" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", experiments())
def test_every_shipped_experiment_has_the_figures_of_its_claims(name, fresh, tmp_path):
    plan = shrunk(name, tmp_path)
    said = run_claims([(plan, list(plan.claims))], [1], tmp_path / "out")
    assert said.count("undecided") == len(plan.claims)


@pytest.mark.slow
def test_a_killed_process_goes_on(plan, tmp_path):
    whole = run_claims([(plan, ["wider"])], [100], tmp_path / "whole")
    program = (
        "from pathlib import Path; from evaluation.claims.experiments import read_experiment; "
        "from evaluation.claims.suite import run_claims; "
        "print(run_claims([(read_experiment(Path('paper.yaml')), ['wider'])], [100], Path('out')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "out").rglob("checkpoint-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == whole
    assert records(tmp_path / "out") == records(tmp_path / "whole")
