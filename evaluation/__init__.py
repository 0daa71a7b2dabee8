"""Evaluation: one file a suite, oracles that judge media, and the report."""

#: Name on the command line -> "module:function". Strings, so that listing the suites imports none of them.
SUITES = {
    "any_to_any": "evaluation.any_to_any:evaluate",
    "own_data": "evaluation.own_data:evaluate_own_data",
    "long_context": "evaluation.long_context:evaluate",
}
#: Size of a suite's full run: conversations; windows of text and passkeys a length.
FULL_COUNTS = {"any_to_any": 320, "own_data": 320, "long_context": 20}
