"""Equal in numbers to what the papers' authors released: one test a golden case.

``NEXTGPT_GOLDEN=FOLDER pytest tests/parity`` runs the cases of another folder of the same layout. Each system's module
(``tests/parity/<system>.py``) says by ``kind(case)`` what a case is and by ``KINDS`` how it is run; a case whose kind
is unknown fails.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from tests.parity.cases import Case, Comparison, faults, find_cases, helper

CASES = find_cases()
COMPARED = [case for case in CASES if helper(case) is None]
HELPERS = [case for case in CASES if helper(case) is not None]


def named(case: Case) -> str:
    return f"{case.system}/{case.name}"


def comparisons_of(case: Case) -> list[Comparison]:
    """All comparisons of a case. Raises ValueError for a system or a kind that is not known."""
    try:
        system = importlib.import_module(f"tests.parity.{case.system}")
    except ModuleNotFoundError as error:
        raise ValueError(f"no parity tests for system {case.system!r}: {error}") from error
    return list(system.KINDS[system.kind(case)](case))


@pytest.mark.parametrize("case", COMPARED, ids=named)
def test_parity(case: Case):
    torch.manual_seed(0)
    comparisons = comparisons_of(case)
    assert comparisons, "a case that compares nothing proves nothing"
    wrong = faults(comparisons)
    assert not wrong, "\n".join([f"{named(case)}: {len(wrong)} of {len(comparisons)} values", *wrong])


@pytest.mark.parametrize("case", HELPERS, ids=named)
def test_what_serves_the_cases(case: Case):
    """Key tables and lists of errors belong to their system; weights serve at least one case, and are finite."""
    if helper(case) == "weights":
        used = {Path(c.record["weights_from"]["file"]).stem for c in CASES if c.record.get("weights_from")}
        assert case.path.stem in used, f"no case takes its weights from {case.path.name}"
        assert all(bool(w.isfinite().all()) for w in case.group("weights/").values())
        return
    wrong = faults(comparisons_of(case))
    assert not wrong, "\n".join(wrong)
