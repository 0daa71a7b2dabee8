"""The words of Toybox in English and Chinese.

Each table maps a value to its words; the first one is canonical (the assistant uses only it), the others are
paraphrases that a user may choose. A reply that keeps to the first column can be parsed back without a guess.
"""

from __future__ import annotations

#: English nouns as seen; every plural adds an s.
NOUNS_ENGLISH = {
    "bell": ("bell",),
    "drum": ("drum",),
    "bird": ("bird",),
    "car": ("car",),
    "clock": ("clock",),
    "rain": ("rain cloud",),
    "dog": ("dog",),
    "cat": ("cat",),
    "frog": ("frog",),
    "bee": ("bee",),
    "train": ("train",),
    "phone": ("phone",),
    "kettle": ("kettle",),
    "fire": ("fire",),
    "boat": ("boat",),
    "siren": ("siren",),
}

#: Chinese nouns as seen.
NOUNS_CHINESE = {
    "bell": ("铃铛",),
    "drum": ("鼓",),
    "bird": ("鸟",),
    "car": ("汽车",),
    "clock": ("时钟",),
    "rain": ("雨云",),
    "dog": ("狗",),
    "cat": ("猫",),
    "frog": ("青蛙",),
    "bee": ("蜜蜂",),
    "train": ("火车",),
    "phone": ("电话",),
    "kettle": ("水壶",),
    "fire": ("火",),
    "boat": ("船",),
    "siren": ("警笛",),
}

MEASURE_WORDS = {
    "bell": "个", "drum": "面", "bird": "只", "car": "辆", "clock": "个", "rain": "朵", "dog": "只", "cat": "只",
    "frog": "只", "bee": "只", "train": "列", "phone": "部", "kettle": "把", "fire": "团", "boat": "艘", "siren": "个",
}  # fmt: skip

#: attribute -> value -> English words, canonical first.
ENGLISH = {
    "colour": {
        "red": ("red",),
        "orange": ("orange",),
        "yellow": ("yellow",),
        "green": ("green",),
        "blue": ("blue",),
        "purple": ("purple",),
        "pink": ("pink",),
        "brown": ("brown",),
    },
    "count": {1: ("one",), 2: ("two", "2"), 3: ("three", "3")},
    "size": {"small": ("small", "little", "tiny"), "medium": ("medium-sized", "medium"), "large": ("large", "big")},
    "place": {
        "top left": ("at the top left", "in the top left corner", "top left"),
        "top": ("at the top", "up at the top"),
        "top right": ("at the top right", "in the top right corner", "top right"),
        "left": ("on the left", "on the left side"),
        "centre": ("in the centre", "in the middle", "in the center"),
        "right": ("on the right", "on the right side"),
        "bottom left": ("at the bottom left", "in the bottom left corner", "bottom left"),
        "bottom": ("at the bottom", "down at the bottom"),
        "bottom right": ("at the bottom right", "in the bottom right corner", "bottom right"),
    },
    "background": {
        "snow": ("in the snow", "in snow", "on snow"),
        "meadow": ("on a meadow", "on the meadow", "in a meadow"),
        "beach": ("on a beach", "on the beach", "at the beach"),
        "night": ("at night", "in the night"),
    },
    "motion": {
        "left": ("moving left", "moving to the left", "going left"),
        "right": ("moving right", "moving to the right", "going right"),
        "up": ("moving up", "moving upwards", "going up"),
        "down": ("moving down", "moving downwards", "going down"),
        "spin": ("spinning", "turning around"),
        "grow": ("growing", "getting bigger"),
        "bounce": ("bouncing", "jumping"),
    },
    "pitch": {
        "low": ("low", "low-pitched", "deep"),
        "medium": ("mid-pitched", "medium-pitched"),
        "high": ("high", "high-pitched"),
    },
    "pace": {"slow": ("slow",), "medium": ("steady", "medium-paced"), "fast": ("fast", "quick")},
    "repeats": {1: ("once", "one time"), 2: ("twice", "two times"), 3: ("three times", "3 times")},
}

#: attribute -> value -> Chinese words, canonical first.
CHINESE = {
    "colour": {
        "red": ("红色",),
        "orange": ("橙色",),
        "yellow": ("黄色",),
        "green": ("绿色",),
        "blue": ("蓝色",),
        "purple": ("紫色",),
        "pink": ("粉色", "粉红色"),
        "brown": ("棕色",),
    },
    "count": {1: ("一",), 2: ("两",), 3: ("三",)},
    "size": {"small": ("小",), "medium": ("中等大小的",), "large": ("大",)},
    "place": {
        "top left": ("左上角", "左上方"),
        "top": ("上方", "上面"),
        "top right": ("右上角", "右上方"),
        "left": ("左边", "左侧"),
        "centre": ("中间", "中央"),
        "right": ("右边", "右侧"),
        "bottom left": ("左下角", "左下方"),
        "bottom": ("下方", "下面"),
        "bottom right": ("右下角", "右下方"),
    },
    "background": {
        "snow": ("雪地",),
        "meadow": ("草地",),
        "beach": ("沙滩", "海滩"),
        "night": ("夜晚", "晚上"),
    },
    "motion": {
        "left": ("向左移动", "往左移动"),
        "right": ("向右移动", "往右移动"),
        "up": ("向上移动", "往上移动"),
        "down": ("向下移动", "往下移动"),
        "spin": ("旋转", "转圈"),
        "grow": ("变大", "慢慢变大"),
        "bounce": ("弹跳", "跳动"),
    },
    "pitch": {"low": ("音调低", "低音"), "medium": ("音调适中", "中音"), "high": ("音调高", "高音")},
    "pace": {"slow": ("节奏慢", "慢速"), "medium": ("节奏适中", "中速"), "fast": ("节奏快", "快速")},
    "repeats": {1: ("一次",), 2: ("两次",), 3: ("三次",)},
}

#: attribute -> value -> the one word that stands for it in a tag caption.
TAGS = {
    "thing": {thing: thing for thing in NOUNS_ENGLISH},
    "colour": {colour: colour for colour in ENGLISH["colour"]},
    "count": {1: "one", 2: "two", 3: "three"},
    "size": {size: size for size in ENGLISH["size"]},
    "place": {place: place.replace(" ", "-") for place in ENGLISH["place"]},
    "background": {background: background for background in ENGLISH["background"]},
    "motion": {
        "left": "moving-left",
        "right": "moving-right",
        "up": "moving-up",
        "down": "moving-down",
        "spin": "spinning",
        "grow": "growing",
        "bounce": "bouncing",
    },
    "pitch": {pitch: f"{pitch}-pitch" for pitch in ENGLISH["pitch"]},
    "pace": {pace: f"{pace}-pace" for pace in ENGLISH["pace"]},
    "repeats": {1: "once", 2: "twice", 3: "three-times"},
}
