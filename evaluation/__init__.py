"""Evaluation: one file a suite, oracles that judge media, and the report."""

#: Name on the command line -> "module:function". Strings, so that listing the suites imports none of them.
SUITES = {
    "any_to_any": "evaluation.any_to_any:evaluate",
    "own_data": "evaluation.own_data:evaluate_own_data",
}
