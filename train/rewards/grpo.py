"""GRPO (2402.03300, Sec. 4.1) for what a core says and which media it brings, with rewards that are computed exactly.

Of each conversation a group of replies is sampled from the core as it is now. A reward says how far each does what the
record's own reply does; replies above their group's mean become likelier, the others less likely. Signal tokens are
tokens like all others, so a core learns which media to bring as it learns what to say. A penalty, the estimator of
Eq. 4, holds it near the one that it starts from.

Rewards are functions of the reply and the truth, not networks: nothing is learnt from a judge that errs.

Shapes: B replies, T tokens.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from data import toybox
from nextgpt_lite.decoding import Decoding
from nextgpt_lite.generate import Prepared, Sampling, end_tokens, generate, reply_text
from train.dialogues.bins import BinnedRows
from train.dialogues.encode import Row
from train.dialogues.loader import Candidates
from train.rewards.advantages import group_advantages, policy_loss
from train.rewards.preference import PreferenceModel
from train.rewards.start import kept_start
from train.settings import RecipeError, setting
from train.stages.three_stages import InstructionTuningTask


class Said(NamedTuple):
    """A reply: its words, and the modalities of its media in their order."""

    text: str
    media: list[str]


def routed(said: Said, truth: Said) -> float:
    """1 where the media are those of the truth, each as often; else 0."""
    return float(sorted(said.media) == sorted(truth.media))


def words(said: Said, truth: Said) -> float:
    """Harmonic mean of precision and recall of the words."""
    ours, theirs = (Counter(each.text.lower().split()) for each in (said, truth))
    return 2 * (ours & theirs).total() / max(1, ours.total() + theirs.total())


def attributes(said: Said, truth: Said) -> float:
    """Of the attributes that Toybox's grammar reads in the truth, the share that it reads in the reply; 1 of none."""
    wanted, found = toybox.parse_reply(truth.text), toybox.parse_reply(said.text)
    return sum(found.get(name) == value for name, value in wanted.items()) / len(wanted) if wanted else 1.0


REWARDS: dict[str, Callable[[Said, Said], float]] = {"routed": routed, "words": words, "attributes": attributes}


class GrpoTask(InstructionTuningTask):
    """Tunes a whole core on conversations of any source; exports ``core``."""

    @dataclass(frozen=True)
    class Settings(InstructionTuningTask.Settings):
        start: str = setting("core", help="folder in the model folder of the core to go on from")
        group: int = setting(8, low=2, help="replies to each conversation")
        temperature: float = setting(1.0, above=0, help="at which they are sampled")
        max_new_tokens: int = setting(64, low=1, help="of a reply")
        kl_weight: float = setting(0.04, low=0, help="of the distance to the core that it starts from")
        rewards: dict[str, float] = setting({"routed": 1.0, "words": 0.5}, low=0, help=f"{', '.join(REWARDS)}: weight")

        def __post_init__(self) -> None:
            super().__post_init__()
            if unknown := [name for name in self.rewards if name not in REWARDS]:
                raise RecipeError(f"unknown reward {unknown[0]!r}: expected some of {', '.join(REWARDS)}")
            if not any(self.rewards.values()):
                raise RecipeError("rewards are all of weight 0: nothing could be learnt")

    settings: Settings
    model: "Policy"

    def build(self) -> None:
        super().build()
        stage: Any = self.model
        self.model = Policy(stage, self.settings.kl_weight)
        self.ends = end_tokens(stage.core, self.tokenizer)

    def begin(self, run_dir: Path, resume: bool) -> None:
        super().begin(run_dir, resume)
        self.model.start_state = kept_start(run_dir, resume, self.model.tuned())

    def dataset_of(self, rows: list[Row] | None) -> BinnedRows:
        """Bins of conversations, each counted with all its replies. RecipeError for streams."""
        if rows is None:
            raise RecipeError("a group of replies is sampled for each conversation: expected no streams")
        chosen, group = self.settings, self.settings.group
        return BinnedRows(rows, chosen.tokens_per_bin, chosen.seed, length=lambda row: group * len(row))

    def makes_media(self) -> bool:
        """No: replies are rewarded for their words and for the media that they ask for."""
        return False

    def make_batch(self, rows: list[Row], candidates: Candidates) -> Any:
        return self.loader.unreadable.replace(rows, candidates, self.fits)

    def finish(self, batch: Any) -> dict[str, torch.Tensor]:
        """Conversations -> sampled replies as a batch of the core, with their ``advantages`` and ``rewards`` (B,)."""
        rows: Any = super().finish(batch)
        replies = self.sample(rows, self.settings.temperature, self.model.seed(), each=self.settings.group)
        pairs = [(row, reply) for row, own in zip(rows, replies, strict=True) for reply in own]
        rewards = torch.tensor([self.reward(reply, row) for row, reply in pairs])
        made = self.collator([with_reply(row, reply, self.ends) for row, reply in pairs])
        kept = {name: value for name, value in made.items() if name.startswith(("input_ids", "labels", "media_"))}
        advantages = group_advantages(rewards.view(len(rows), -1)).flatten()
        return kept | {"advantages": advantages, "rewards": rewards}

    @torch.no_grad()
    def sample(self, rows: Sequence[Row], temperature: float, seed: int = 0, each: int = 1) -> list[list[list[int]]]:
        """Ids of ``each`` replies to each conversation, with the end token where they came to an end."""
        training, core = self.model.training, self.model.core.eval()
        requests = []
        for number, row in enumerate(rows):
            prompt = Prepared(row.ids[: last_reply(row)], [self.loader.embeddings[medium] for medium in row.media])
            seeds = (1_000_003 * seed + 1_009 * number + turn for turn in range(each))
            limit = self.settings.max_new_tokens
            requests += [(prompt, Sampling(limit, temperature, seed=own)) for own in seeds]
        made = generate(core, self.ends, requests, decoding=Decoding("transformers"))  # weights change with every step
        self.model.train(training)
        ended = [[*reply.ids, min(self.ends)] if len(reply.ids) < limit else reply.ids for reply in made]
        return [ended[start : start + each] for start in range(0, len(ended), each)]

    def reward(self, reply: list[int], row: Row) -> float:
        """The weighted mean of the rewards, from 0 to 1."""
        said, truth = self.said(reply), self.said(row.ids[last_reply(row) :])
        weights = self.settings.rewards
        return sum(weight * REWARDS[name](said, truth) for name, weight in weights.items()) / sum(weights.values())

    def said(self, ids: list[int]) -> Said:
        table = self.model.core.table
        whole, media, _ = table.complete([token for token in ids if token not in self.ends])
        return Said(reply_text(self.tokenizer, table, whole)[0], list(media))

    def denominators(self, batch: dict[str, Any]) -> dict[str, float]:
        return {"loss": float(len(batch["advantages"]))}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return self.model.stage.parts()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The mean of each reward over greedy replies to conversations that training never saw."""
        rows = self.loader.unreadable.leave_out(self.unseen)
        replies = [own[0] for start in range(0, len(rows), 16) for own in self.sample(rows[start : start + 16], 0.0)]
        pairs = [
            (self.said(reply), self.said(row.ids[last_reply(row) :])) for reply, row in zip(replies, rows, strict=True)
        ]
        return {
            name: sum(REWARDS[name](*pair) for pair in pairs) / max(1, len(pairs)) for name in self.settings.rewards
        }


class Policy(PreferenceModel):
    """A core whose tokens are actions. It keeps what it starts from, to stay near it."""

    def __init__(self, stage: Any, kl_weight: float) -> None:
        super().__init__(stage, beta=0.0)
        self.kl_weight = kl_weight
        #: The values that the tuned parameters are held near.
        self.start_state: dict[str, torch.Tensor] = {}

    def forward(
        self, advantages: torch.Tensor, rewards: torch.Tensor, **batch: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """A batch of sampled replies (B, T) with their advantages (B,) -> the loss, divergence and mean reward."""
        lengths = (batch["labels"] != -100).sum(1).clamp_min(1)
        before = None
        if self.kl_weight:  # first: what autograd keeps of a pass must not be written over
            with torch.no_grad(), self.start():
                before = self.log_probabilities(batch) / lengths
        now = self.log_probabilities(batch) / lengths  # the mean over a reply's tokens, Eq. 3
        parts = {"reward": rewards.mean(), "policy": policy_loss(now, advantages)}
        loss = parts["policy"]
        if before is not None:
            parts["divergence"] = ((before - now).exp() - (before - now) - 1).mean()
            loss = loss + self.kl_weight * parts["divergence"]
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def seed(self) -> int:
        """A number that follows from the trained parameters: a run that is resumed samples as one that was not cut."""
        digest = hashlib.sha256()
        for parameter in self.parameters():
            if parameter.requires_grad:
                digest.update(parameter.detach().float().cpu().numpy().tobytes())
        return int.from_bytes(digest.digest()[:3], "big")

    def tuned(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    @contextmanager
    def start(self) -> Iterator[None]:
        """Inside, the trained parameters have the values of the start."""
        trained = self.tuned()
        now = {name: p.detach().clone() for name, p in trained.items()}
        _set(trained, self.start_state)
        try:
            yield
        finally:
            _set(trained, now)


@torch.no_grad()
def _set(parameters: dict[str, nn.Parameter], values: dict[str, torch.Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def last_reply(row: Row) -> int:
    """Where the assistant's last reply begins."""
    return [n for n, (before, now) in enumerate(pairwise([0, *row.assistant_mask])) if now > before][-1]


def with_reply(row: Row, reply: list[int], ends: set[int]) -> Row:
    """The conversation with another last reply, which alone is learnt."""
    start = last_reply(row)
    ids = [*row.ids[:start], *(reply or [min(ends)])]
    nothing: dict[str, list] = {name: [] for name in row.captions}
    mask = [0] * start + [1] * (len(ids) - start)
    return replace(row, ids=ids, assistant_mask=mask, captions=nothing, targets=nothing)
