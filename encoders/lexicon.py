"""The phrases by which an encoder over pretrained trunks names what it reads, and their vectors.

Shapes: N phrases, E width of the shared space.
"""

from collections.abc import Sequence

import torch
from torch import nn

from encoders.description import Found, Vocabulary, word

#: Least probability of a colour that is named: things in their own colours may have none.
LEAST_COLOUR = 0.5
#: Least logit of the first thing's presence: of sounds that training knew it was 5.6 or more in 99 of 100.
LEAST_PRESENCE = 3.0
THINGS = "things"


class Lexicon(nn.Module):
    """A vocabulary with a buffer of vectors (N, E) for its things, and one for each slot of ``others``."""

    def __init__(self, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        for name, phrases in ((THINGS, vocabulary.things), *vocabulary.others.items()):
            self.register_buffer(name, torch.zeros(len(phrases), width))

    def phrase(self, slot: int, vector: torch.Tensor, language: str) -> str:
        """The nearest phrase to a vector (E,) of those that a slot of captions has: things by default."""
        name = str(slot) if str(slot) in self.vocabulary.others else THINGS
        phrases: Sequence[dict[str, str]] = self.vocabulary.others.get(name, self.vocabulary.things)
        return word(phrases[int((getattr(self, name) @ vector).argmax())], language)

    def phrases(self, vectors: torch.Tensor, presence: torch.Tensor, language: str) -> list[str]:
        """The phrases of a caption by their vectors (L, E) and the logits of their being said (L,); "" for others.

        All are "" where the first thing is hardly there: whatever else is read belongs to it.
        """
        if presence[0].item() < LEAST_PRESENCE:
            return [""] * len(vectors)
        said = enumerate(zip(vectors, presence, strict=True))
        return [self.phrase(slot, vector, language) if there.item() > 0 else "" for slot, (vector, there) in said]

    def found(self, read: dict[str, torch.Tensor], query: int, language: str) -> Found:
        """What an image reader has read (``ImageReader.read``) in an object token, named."""
        name = self.phrase(0, read["name"][query], language)
        probability, colour = read["colour"][query].softmax(-1).max(-1)
        named = bool(self.vocabulary.colours) and probability.item() >= LEAST_COLOUR
        across, down, width, height = read["box"][query].tolist()
        corners = across - width / 2, down - height / 2, across + width / 2, down + height / 2
        left, top, right, bottom = (min(max(corner, 0.0), 1.0) for corner in corners)
        return Found(
            name, word(self.vocabulary.colours[int(colour)], language) if named else "", (left, top, right, bottom)
        )
