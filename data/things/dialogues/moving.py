"""Videos and point clouds in dialogues: drawn anew, in words, changed, and asked about."""

from dataclasses import replace

from data.things.animations import animated_things
from data.things.backgrounds import PLACES
from data.things.catalogue import catalogue
from data.things.dialogues import composing
from data.things.dialogues.phrases import bare, held_out_name, name_of, noun, said_singly
from data.things.dialogues.speaker import Speaker
from data.things.motion import ANIMATED, MOTIONS, WIDE, Moving, VideoScene, sample
from data.things.points.kinds import model_kinds
from data.things.points.scenes import PointScene
from data.things.points.scenes import sample as sample_points
from data.things.words import with_article

_TWO, _ANIMATED = 0.15, 0.25


def new(speaker: Speaker) -> VideoScene:
    """One thing in motion, or two. Things that are animated by themselves come only where their bank is."""
    if speaker.chance(_ANIMATED) and animated_things():
        return _drawn(speaker, ANIMATED)
    if not speaker.chance(_TWO):
        return _drawn(speaker, speaker.pick(list(MOTIONS)))
    narrow = [motion for motion in MOTIONS if motion not in WIDE]
    while True:
        first, second = (_drawn(speaker, speaker.pick(narrow)) for _ in range(2))
        if first.moving[0].placed.thing != second.moving[0].placed.thing:
            return first.with_(moving=(_at(first.moving[0], 0.27), _at(second.moving[0], 0.73)))


def _drawn(speaker: Speaker, motion: str) -> VideoScene:
    while True:  # "some prints that moves" is no English
        scene = sample(int(speaker.rng.integers(2**31)), 0, motion, speaker.things, speaker.pairs)
        if said_singly(scene.moving[0].placed.thing):
            return scene


def _at(moving: Moving, x: float) -> Moving:
    placed = moving.placed
    return Moving(replace(placed, x=x, side=min(placed.side, 0.4)), moving.motion)


def phrase(speaker: Speaker, scene: VideoScene) -> str:
    """The whole video, as a user might say it."""
    return _words(speaker, scene, free=True)


def said(speaker: Speaker, scene: VideoScene) -> str:
    """The whole video, in usual words."""
    return _words(speaker, scene, free=False)


def _words(speaker: Speaker, scene: VideoScene, free: bool) -> str:
    say = speaker.say if free else speaker.first
    sides = [""] if len(scene.moving) == 1 else [say("position.left"), say("position.right")]
    moves = []
    for moving, side in zip(scene.moving, sides, strict=True):
        shape = "animated" if moving.motion == ANIMATED else "moving"
        motion = "" if shape == "animated" else say(f"motion.{moving.motion}")
        words = {"n": noun(speaker, moving.placed, free=free), "p": side, "v": motion}
        moves.append(speaker.say(f"video.{'free' if free else 'said'}.{shape}", **words))
    words = speaker.first("video.and").join(moves)
    if not scene.background:
        return words
    behind = say(f"background.{scene.background}")
    return f"{words}{'，' if speaker.language == 'zh' else ', '}{behind}"


def change(speaker: Speaker, scene: VideoScene) -> tuple[VideoScene, str, dict[str, str]]:
    """A change of a video: the new one, and the bank and the slots of the wish."""
    moving = scene.moving[0]
    wishes = ["background"]
    wishes += ["motion", "motion"] if len(scene.moving) == 1 and moving.motion != ANIMATED else []
    colour = composing.some_colour(speaker, moving.placed.thing, moving.placed.colour)
    wishes += ["colour"] if colour and len(scene.moving) == 1 and moving.motion != ANIMATED else []
    wish = speaker.pick(wishes)
    if wish == "motion":
        motion = speaker.pick([each for each in MOTIONS if each != moving.motion])
        placed = replace(moving.placed, mirrored=motion == "right")
        changed = scene.with_(moving=(Moving(placed, motion),))
        return changed, "video.change.motion", {"v": speaker.say(f"motion.{motion}"), "it": _it(speaker)}
    if wish == "colour":
        word = speaker.say(f"colour.{colour}")
        changed = scene.with_(moving=(Moving(replace(moving.placed, colour=colour), moving.motion),))
        return changed, "change.colour", {"c": word, "a_c": with_article(word), "it": _it(speaker)}
    place = speaker.pick([each for each in PLACES if each != scene.background])
    slots = {"b": speaker.say(f"background.{place}"), "it": _it(speaker) if len(scene.moving) == 1 else _them(speaker)}
    return scene.with_(background=place), "change.background", slots


def _it(speaker: Speaker) -> str:
    return "it" if speaker.language == "en" else "它"


def _them(speaker: Speaker) -> str:
    return "them" if speaker.language == "en" else "它们"


def question(speaker: Speaker, scene: VideoScene) -> tuple[str, str, dict[str, str], str]:
    """What a video answers: the banks of question and answer, their slots, and a word that the answer must hold."""
    moving = scene.moving[0]
    own = bare(catalogue()[moving.placed.thing].names[speaker.language][0])
    slots = {"x": said(speaker, scene), "it": _it(speaker), "n": bare(name_of(speaker, moving.placed.thing)), "u": own}
    alone = len(scene.moving) == 1
    topics = ["describe", "describe"] + (["what", "what"] if alone else [])
    topics += ["motion", "motion"] if alone and moving.motion != ANIMATED else []
    topics += ["colour"] if alone and moving.placed.colour else []
    topic = speaker.pick(topics)
    if topic == "what":
        slots["x"] = noun(speaker, moving.placed, free=False)
        return "video.ask.what", "video.answer.what", slots, own
    if topic == "motion":
        slots["v"] = speaker.first(f"motion.{moving.motion}").removeprefix("that ")
        return "video.ask.motion", "video.answer.motion", slots, slots["v"]
    if topic == "colour":
        slots["c"] = speaker.first(f"colour.{moving.placed.colour}")
        return "video.ask.colour", "video.answer.colour", slots, slots["c"]
    return "video.ask.describe", "video.answer.describe", slots, ""


# Point clouds


def new_points(speaker: Speaker) -> PointScene:
    return sample_points(int(speaker.rng.integers(2**31)), 0, speaker.things)


def said_points(speaker: Speaker, scene: PointScene) -> str:
    """ "a chair"."""
    name = model_kinds()[scene.kind].names[speaker.language][0]
    return name if speaker.language == "zh" else with_article(name)


def points_question(speaker: Speaker, scene: PointScene) -> tuple[str, str, dict[str, str], str]:
    """What a point cloud answers: the banks of question and answer, their slots, and a word of the answer."""
    kind = model_kinds()[scene.kind]
    own, slots = bare(kind.names[speaker.language][0]), {"x": said_points(speaker, scene)}
    if speaker.chance(0.7):
        return "points.ask.what", "points.answer.what", slots, own
    right = speaker.chance(0.5)
    asked = kind if right else speaker.pick([each for each in model_kinds().values() if each.name != kind.name])
    names = asked.names[speaker.language]
    others = [each for each in names[1:] if held_out_name(each) == speaker.held_out]
    name = speaker.pick([names[0], *others])
    slots["y"] = name if speaker.language == "zh" else with_article(name)
    return "points.ask.is_it", f"points.answer.{'is' if right else 'is_not'}", slots, own
