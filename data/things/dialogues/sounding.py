"""Sounds in dialogues: drawn anew, in words, changed, and asked about."""

from data.things.dialogues.phrases import bare, held_out_name
from data.things.dialogues.speaker import Speaker
from data.things.sounds.kinds import Kind, kinds
from data.things.sounds.scenes import MOST, SoundScene, sample
from data.things.words import NUMBERS, with_article

_LOUDER, _SOFTER = {"soft": "", "": "loud"}, {"loud": "", "": "soft"}
_HIGHER, _LOWER = {"low": "", "": "high"}, {"high": "", "": "low"}
_FASTER, _SLOWER = {"slow": "", "": "quick"}, {"quick": "", "": "slow"}
#: Change -> the attribute that it moves, and how.
STEPS = {
    "louder": ("loudness", _LOUDER),
    "softer": ("loudness", _SOFTER),
    "higher": ("pitch", _HIGHER),
    "lower": ("pitch", _LOWER),
    "faster": ("pace", _FASTER),
    "slower": ("pace", _SLOWER),
}


def new(speaker: Speaker) -> SoundScene:
    """A sound of which, as often as not, only the kind is said."""
    drawn = sample(int(speaker.rng.integers(2**31)), 0)
    return drawn.with_(pitch="", pace="", loudness="", touch="") if speaker.chance(0.35) else drawn


def phrase(speaker: Speaker, scene: SoundScene) -> str:
    """The whole sound, as a user might say it."""
    return _words(speaker, scene, free=True)


def said(speaker: Speaker, scene: SoundScene) -> str:
    """The whole sound, in usual words."""
    return _words(speaker, scene, free=False)


def name(speaker: Speaker, kind: Kind, free: bool = True) -> str:
    """ "a piano"; in Chinese the bare name."""
    names = kind.names[speaker.language]
    others = [each for each in names[1:] if held_out_name(each) == speaker.held_out]
    chosen = speaker.pick(others) if free and others and speaker.chance(0.9 if speaker.held_out else 0.4) else names[0]
    return chosen if speaker.language == "zh" else with_article(chosen)


def _words(speaker: Speaker, scene: SoundScene, free: bool) -> str:
    kind = kinds()[scene.kind]

    def word(attribute: str, value: str) -> str:
        if not value:
            return ""
        bank = f"sound.{attribute}.{value}"
        return speaker.say(bank) if free else speaker.first(bank)

    notes = kind.form == "notes" and scene.count > 0
    how = [word("pace", scene.pace), "" if notes else word("pitch", scene.pitch), word("loudness", scene.loudness)]
    slots = {"n": name(speaker, kind, free), "on": "by" if kind.by else "on", "doing": kind.doing, "does": kind.does}
    if speaker.language == "zh":
        slots |= {"k": _counted(speaker, scene, free), "touch": word("touch", scene.touch), "h": "".join(how)}
        slots["pitch"] = word("pitch", scene.pitch) if notes else ""
    else:
        note = " ".join(filter(None, (word("touch", scene.touch), word("pitch", scene.pitch) if notes else "", "note")))
        slots["notes"] = with_article(note) if scene.count == 1 else f"{_counted(speaker, scene, free)} {note}s"
        slots["times"] = word("times", str(scene.count)) if scene.count else ""
        if kind.doing:
            slots["doing_n"] = _doing(slots["n"], kind.doing)
    shape = "notes" if notes else "times" if scene.count else "doing" if kind.doing else "plain"
    words = speaker.say(f"sound.{'free' if free else 'said'}.{shape}", **slots)
    how = [each for each in how if each]
    if speaker.language == "zh" or not how:
        return words
    return f"{words}, {' and '.join(', '.join(how).rsplit(', ', 1))}"


def _doing(noun: str, doing: str) -> str:
    """ "a ringing telephone"."""
    some = "some " if noun.startswith("some ") else ""
    named = bare(noun) if some else noun.split(" ", 1)[1]
    return some + f"{doing} {named}" if some else with_article(f"{doing} {named}")


def _counted(speaker: Speaker, scene: SoundScene, free: bool) -> str:
    if not scene.count:
        return ""
    bank = f"number.{scene.count}"
    if speaker.language == "en" and not free:
        return NUMBERS[scene.count]
    return speaker.say(bank) if free else speaker.first(bank)


def change(speaker: Speaker, scene: SoundScene) -> tuple[SoundScene, str, dict[str, str]]:
    """A change that is possible here: the new sound, and the bank and the slots of the wish."""
    kind = kinds()[scene.kind]
    wishes = [step for step, (attribute, steps) in STEPS.items() if _moves(kind, scene, attribute, steps)]
    wish = speaker.pick([*wishes, "kind", *(("count",) if MOST[kind.form] > 1 else ())])
    if wish == "kind":
        other = speaker.pick([each for each in kinds().values() if each.form == kind.form and each.name != kind.name])
        changed = scene.with_(kind=other.name, touch=scene.touch if other.held else "")
        return changed, "sound.change.kind", {"y": name(speaker, other)}
    if wish == "count":
        counts = [count for count in range(2, MOST[kind.form] + 1) if count != scene.count]
        count = speaker.pick(counts)
        touch = scene.touch if count < 3 or scene.touch != "long" else ""
        slots = {"t": speaker.say(f"sound.times.{count}"), "k": speaker.say(f"number_alone.{count}")}
        return (
            scene.with_(count=count, touch=touch),
            f"sound.change.{'notes' if kind.form == 'notes' else 'count'}",
            slots,
        )
    attribute, steps = STEPS[wish]
    return scene.with_(**{attribute: steps[getattr(scene, attribute)]}), f"sound.change.{wish}", {}


def _moves(kind: Kind, scene: SoundScene, attribute: str, steps: dict[str, str]) -> bool:
    if attribute == "pitch" and kind.form != "notes":
        return False
    if attribute == "pace" and (kind.form not in ("notes", "hits") or scene.count == 1 or scene.touch == "long"):
        return False
    return getattr(scene, attribute) in steps


def question(speaker: Speaker, scene: SoundScene) -> tuple[str, str, dict[str, str], str]:
    """What a sound answers: the banks of question and answer, their slots, and a word that the answer must hold."""
    kind = kinds()[scene.kind]
    own = kind.names[speaker.language][0]
    asked = ["what", "what", "describe"]
    asked += ["count"] if scene.count and kind.form != "steady" else []
    asked += ["pitch"] if scene.pitch else []
    asked += ["loudness"] if scene.loudness else []
    asked += ["is_it"]
    topic = speaker.pick(asked)
    slots = {"x": said(speaker, scene), "n": name(speaker, kind, free=False)}
    if topic == "what":
        return "sound.ask.what", "sound.answer.what", slots, bare(own)
    if topic == "is_it":
        other = speaker.pick([each for each in kinds().values() if each.name != kind.name])
        right = speaker.chance(0.5)
        slots["y"] = name(speaker, kind if right else other)
        return "sound.ask.is_it", f"sound.answer.{'is' if right else 'is_not'}", slots, bare(own)
    if topic == "count":
        number = NUMBERS[scene.count] if speaker.language == "en" else speaker.first(f"number.{scene.count}")
        slots |= {"k": number, "t": speaker.first(f"sound.times.{scene.count}")}
        shape = "notes" if kind.form == "notes" else "count"
        return f"sound.ask.{shape}", f"sound.answer.{shape}", slots, ""
    if topic in ("pitch", "loudness"):
        slots["w"] = speaker.first(f"sound.{topic}.{getattr(scene, topic)}")
        return f"sound.ask.{topic}", "sound.answer.quality", slots, slots["w"]
    return "sound.ask.describe", "sound.answer.describe", slots, ""
