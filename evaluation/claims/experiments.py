"""Experiments: which runs there are, what is measured of each, and the claims that compare them. One YAML each.

    task: what the runs learn and are measured on, in words
    runs:
      base: {recipe: text_language_model, set: {steps: 300, task_settings.layers: 2}}
      lora_plus: {recipe: context_extension, from: base, set: {steps: 60}, measure: {long_context: {...}}}
      lora: {like: lora_plus, set: {learning_rates.norms: 0}}
    claims:
      lora_alone_is_worse: {says: ..., paper: ..., run: lora_plus, against: lora, figure: loss.512, better: lower}

A run is a recipe of train/recipes with other values. ``from`` names the run whose parts it starts from, ``like`` one
that it differs from in what it says itself.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from data.strict import SettingsError, nearest, read_settings, setting
from data.strict_yaml import read_yaml

FOLDER = Path(__file__).parent / "papers"
RECIPES = Path(__file__).parents[2] / "train/recipes"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe with other values. ``measure``: name in evaluation.claims.measures.MEASURES -> its settings."""

    recipe: str = setting(help="name of a recipe")
    start: str = setting("", alias="from", help="the run whose parts it starts from; none = parts of nano")
    values: dict[str, Any] = setting({}, alias="set", help="keys of the recipe, dotted, and their values")
    measure: dict[str, dict[str, Any]] = setting({}, help="what is measured of it besides the task's own figures")

    @property
    def file(self) -> Path:
        """Of its recipe; one that is not there has a name of its own."""
        return next(RECIPES.rglob(f"{self.recipe}.yaml"), RECIPES / f"{self.recipe}.yaml")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """``run`` against ``against`` by ``figure``. The margin is the least difference that matters, in its unit."""

    says: str = setting(help="the claim, a sentence")
    paper: str = setting(help="the paper's own figures")
    figure: list[str] = setting(help="of both runs; of several names their mean")
    run: str = setting(help="name of the run that the claim is about")
    against: str = setting(help="name of the run that it is compared with")
    against_figure: list[str] = setting([], help="the other run's, where it has another name")
    better: str = setting(choices=("lower", "higher"), help="which values of the figure are")
    expect: str = setting("better", choices=("better", "no_worse"), help="what is claimed of `run`")
    margin: float = setting(above=0, help="see above")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs and the claims about them."""

    paper: str = setting(help="name and number")
    task: str = setting(help="what is learned and measured here, in words")
    parts: list[str] = setting([], help="parts of nano that runs without `from` start with")
    runs: dict[str, dict[str, Any]] = setting(help="see Run")
    claims: dict[str, dict[str, Any]] = setting(help="see Claim")


@dataclass(frozen=True)
class Plan:
    """An experiment as it is read: its settings, and its runs and claims by name."""

    name: str
    settings: Experiment
    runs: dict[str, Run]
    claims: dict[str, Claim]

    def needed(self, claims: list[str]) -> list[str]:
        """The runs that these claims compare, each after the one that it starts from."""
        ordered: list[str] = []
        for claim in claims:
            for name in (self.claims[claim].against, self.claims[claim].run):
                chain = [name]
                while start := self.runs[chain[-1]].start:
                    chain.append(start)
                ordered += [each for each in reversed(chain) if each not in ordered]
        return ordered


def read_experiment(path: Path) -> Plan:
    """The experiment in a YAML file. SettingsError that names the file for what it may not say."""
    settings = read_settings(Experiment, read_yaml(path, "experiment"), str(path))
    runs = _read_runs(settings.runs, path)
    claims = {name: read_settings(Claim, values, f"{path}: claims.{name}") for name, values in settings.claims.items()}
    for name, claim in claims.items():
        for other in (claim.run, claim.against):
            if other not in runs:
                raise SettingsError(f"{path}: claims.{name}: unknown run {other!r}{nearest(other, runs)}")
    return Plan(path.stem, settings, runs, claims)


def _read_runs(given: dict[str, dict[str, Any]], path: Path) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    written: dict[str, dict[str, Any]] = {}
    for name, values in given.items():
        where, values = f"{path}: runs.{name}", dict(values)
        for key in ("like", "from"):
            if (other := values.get(key)) and other not in runs:
                raise SettingsError(f"{where}: {key} {other!r}: expected a run that stands before it")
        base = written.get(values.pop("like", ""), {})
        written[name] = {**base, **values, "set": {**base.get("set", {}), **values.get("set", {})}}
        runs[name] = read_settings(Run, written[name], where)
        if not runs[name].file.is_file():
            raise SettingsError(f"{where}: no recipe {runs[name].recipe!r} in {RECIPES.name}")
    return runs


@cache
def experiments() -> dict[str, Plan]:
    """Those that come with the project, by name."""
    return {path.stem: read_experiment(path) for path in sorted(FOLDER.glob("*.yaml"))}


def chosen(names: list[str]) -> list[tuple[Plan, list[str]]]:
    """Experiments and which of their claims are wanted: ``names`` of claims or of experiments, none = all.

    ValueError for an unknown name.
    """
    plans = experiments()
    known = {name for plan in plans.values() for name in (plan.name, *plan.claims)}
    for name in names:
        if name not in known:
            raise ValueError(f"unknown claim {name!r}{nearest(name, known)}: `nextgpt-lite claims --list` names all")
    wanted = set(names or plans)
    found = ((plan, [name for name in plan.claims if {name, plan.name} & wanted]) for plan in plans.values())
    return [(plan, claims) for plan, claims in found if claims]
