"""Which tokens an answer may begin with in each language, and when a model is not made to."""

import pytest
import torch

from nextgpt_lite.answer_language import LETTERS, prefer, silent_openings


@pytest.mark.parametrize("language", LETTERS)
def test_an_answer_opens_with_letters_of_its_language_or_a_signal(tiny_model, language):
    silent = silent_openings(tiny_model.tokenizer, tiny_model.table, language)
    assert len(silent) == tiny_model.table.first + len(tiny_model.table.names)
    assert silent[tiny_model.tokenizer.eos_token_id] and not silent[tiny_model.table.first_signal :].any()
    for token in range(tiny_model.table.first):
        said = tiny_model.tokenizer.decode([token], skip_special_tokens=True)
        assert bool(silent[token]) == (LETTERS[language].search(said) is None)


def test_a_language_without_a_rule_is_refused(tiny_model):
    with pytest.raises(ValueError, match="'fr' are not known: expected en or zh"):
        silent_openings(tiny_model.tokenizer, tiny_model.table, "fr")


def test_openings_are_silenced_where_the_others_are_likely_enough():
    silent = torch.tensor([True, True, False, False])
    likely = torch.tensor([0.4, 0.2, 0.25, 0.15]).log()
    preferred = prefer(likely, silent)
    assert int(preferred.argmax()) == 2 and torch.softmax(preferred, 0)[silent].sum() == 0
    assert torch.equal(preferred[~silent], likely[~silent])


def test_a_model_that_never_answers_in_a_language_is_let_be():
    silent = torch.tensor([True, True, False, False])
    unlikely = torch.tensor([0.3, 0.4, 0.2, 0.1]).log()
    assert torch.equal(prefer(unlikely, silent), unlikely)
