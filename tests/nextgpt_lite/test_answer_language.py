"""Which tokens an answer may begin with in each language, and when a model is not made to."""

import pytest
import torch

from nextgpt_lite.generate import LETTERS, disallowed_first_tokens, prefer_language


@pytest.mark.parametrize("language", LETTERS)
def test_an_answer_opens_with_letters_of_its_language_or_a_signal(tiny_model, language):
    disallowed = disallowed_first_tokens(tiny_model.tokenizer, tiny_model.table, language)
    assert len(disallowed) == tiny_model.table.first + len(tiny_model.table.names)
    assert disallowed[tiny_model.tokenizer.eos_token_id] and not disallowed[tiny_model.table.first_signal :].any()
    for token in range(tiny_model.table.first):
        said = tiny_model.tokenizer.decode([token], skip_special_tokens=True)
        assert bool(disallowed[token]) == (LETTERS[language].search(said) is None)


def test_a_language_without_a_rule_is_refused(tiny_model):
    with pytest.raises(ValueError, match="'fr' are not known: expected en or zh"):
        disallowed_first_tokens(tiny_model.tokenizer, tiny_model.table, "fr")


def test_first_tokens_are_disallowed_where_the_others_are_likely_enough():
    disallowed = torch.tensor([True, True, False, False])
    likely = torch.tensor([0.4, 0.2, 0.25, 0.15]).log()
    preferred = prefer_language(likely, disallowed)
    assert int(preferred.argmax()) == 2 and torch.softmax(preferred, 0)[disallowed].sum() == 0
    assert torch.equal(preferred[~disallowed], likely[~disallowed])


def test_a_model_that_never_answers_in_a_language_is_not_restricted():
    disallowed = torch.tensor([True, True, False, False])
    unlikely = torch.tensor([0.3, 0.4, 0.2, 0.1]).log()
    assert torch.equal(prefer_language(unlikely, disallowed), unlikely)
