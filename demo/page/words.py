"""What the page says, in English and in Chinese."""

from __future__ import annotations

#: Codes of the interface's languages, and what each calls itself.
LANGUAGES = {"en": "English", "zh": "中文"}

WORDS: dict[str, tuple[str, str]] = {
    "line": (
        "Text, pictures, videos and sounds in any mix in, any mix out.",
        "文字、图片、视频、声音，任意组合输入，任意组合输出。",
    ),
    "world": (
        "The embedded model lives in a toy world of sixteen things that it can see, hear, draw, film and play.",
        "内置模型生活在一个玩具世界里：十六样东西，它能看、能听、能画、能拍、能发声。",
    ),
    "chat": ("Chat", "对话"),
    "examples": ("Examples", "示例"),
    "explain": ("Explain", "解释"),
    "playground": ("Playground", "混合"),
    "say": ("Say something, or drop pictures, videos, sounds, points …", "说点什么，或拖入图片、视频、声音、点云……"),
    "empty": ("What shall we make?", "想做点什么？"),
    "new": ("New conversation", "新对话"),
    "conversations": ("Conversations", "对话列表"),
    "untitled": ("New conversation", "新对话"),
    "delete": ("Delete", "删除"),
    "keep": ("Take it along", "带走对话"),
    "as_page": ("One HTML page", "单个网页"),
    "as_folder": ("Folder (zip)", "文件夹 (zip)"),
    "camera": ("Camera", "拍照"),
    "settings": ("Settings", "设置"),
    "model": ("Model", "模型"),
    "seed": ("Seed", "随机种子"),
    "steps": ("Steps", "步数"),
    "steps_info": ("of a picture, video or sound; 0 = the model's own", "图片、视频、声音的扩散步数；0 为默认"),
    "guidance": ("Guidance", "引导强度"),
    "guidance_info": ("how closely to follow the words; 0 = the model's own", "多大程度上遵从文字；0 为默认"),
    "temperature": ("Temperature", "温度"),
    "temperature_info": ("0 = always the likeliest word", "0 为总是选最可能的词"),
    "answer_in": ("Answer in", "回答语言"),
    "answer_in_info": (
        "a preference: a small model answers in the question's language where it knows no other answer",
        "只是偏好：小模型不会用别的语言回答时，仍用提问的语言",
    ),
    "as_asked": ("the question's language", "与提问相同"),
    "answer_with": ("Answer with", "可以回答"),
    "image": ("picture", "图片"),
    "video": ("video", "视频"),
    "audio": ("sound", "声音"),
    "points": ("points", "点云"),
    "text": ("text", "文字"),
    "waking": ("The model is waking up …", "模型正在醒来……"),
    "thinking": ("…", "……"),
    "making_image": ("drawing the picture", "正在画图"),
    "making_video": ("filming", "正在拍视频"),
    "making_audio": ("recording the sound", "正在录声音"),
    "waits": ("waiting for its turn", "等待中"),
    "step": ("step {step} of {total}", "第 {step} 步，共 {total} 步"),
    "cancel": ("Cancel", "取消"),
    "cancelled": ("{medium}: cancelled", "{medium}：已取消"),
    "stopped": ("*(stopped)*", "*（已停止）*"),
    "in": ("in", "输入"),
    "out": ("out", "输出"),
    "matrix": (
        "Anything in, anything out: rows are what you give, columns what you get. Click one to send it.",
        "任意输入，任意输出：行是给它的，列是它回的。点一个就发送。",
    ),
    "no_reply": (
        "There is no reply yet. Ask something first: each reply can be explained.",
        "还没有回答。先问点什么：每个回答都可以解释。",
    ),
    "reply": ("Reply", "回答"),
    "captions": ("Captions to compare with", "用来对比的说明"),
    "captions_info": (
        "one line for each medium of the reply; empty = read from its words",
        "回答里每个媒体一行；留空则从文字里读出",
    ),
    "explain_it": ("Explain", "解释"),
    "signals": ("Signal tokens", "信号词元"),
    "signals_line": (
        "By these the language model asks a decoder for a medium. The figure is how sure it was.",
        "语言模型用这些词元向解码器要媒体。数字是它的把握。",
    ),
    "attention": ("What each token looked at", "每个词元看了什么"),
    "attention_line": (
        "The darker a token, the more of its attention went to that medium (layers and heads averaged).",
        "颜色越深，该词元的注意力越多地落在这个媒体上（各层各头平均）。",
    ),
    "no_media": ("No medium came in: all attention went to text.", "没有输入媒体：注意力全在文字上。"),
    "prompt_share": ("gated prompts at its placeholders: {share:.0%}", "占位处门控提示的份额：{share:.0%}"),
    "neighbours": ("Neighbours in the visual cache", "视觉缓存里的近邻"),
    "neighbours_line": (
        "Pictures that the medium's embedding was blended with, and how much each counted.",
        "媒体的嵌入与这些图片混合；数字是各自的权重。",
    ),
    "gates": ("Gates", "门控"),
    "gates_line": (
        "tanh of each head's gate, layer by layer: how much of the media's prompts a head lets in. "
        "The same for all replies.",
        "逐层列出每个头的 tanh 门控：放进多少媒体提示。对所有回答都一样。",
    ),
    "layer": ("layer {layer}", "第 {layer} 层"),
    "condition": ("What drove the decoder", "驱动解码器的条件"),
    "condition_line": (
        "Cosine, position by position, between what the model gave the decoder and what the decoder's own text "
        "encoder gives for the caption; and what the decoder makes of each.",
        "逐个位置比较：模型给解码器的条件，与解码器自己的文本编码器对说明给出的条件（余弦）；以及由两者各自解码的结果。",
    ),
    "from_model": ("from the model", "来自模型"),
    "from_caption": ("from the caption “{caption}”", "来自说明“{caption}”"),
    "no_caption": (
        "Its words name nothing of the toy world: write a caption above to compare.",
        "文字里没有提到玩具世界里的东西：在上面写一条说明来对比。",
    ),
    "mix_line": (
        "Add and subtract meanings: this picture plus this sound minus that picture. "
        "The sum is an embedding: see what lies near it, and have it drawn, filmed or played.",
        "把意义相加相减：这张图加这段声音减那张图。和是一个嵌入：看看它的近邻，再把它画出来、拍出来、放出来。",
    ),
    "medium_n": ("Medium {number}", "媒体 {number}"),
    "own_file": ("own file", "自己的文件"),
    "from_toybox": ("From the toy world", "来自玩具世界"),
    "weight": ("Weight", "权重"),
    "nothing": ("nothing", "无"),
    "make_of_it": ("Make of it", "做成"),
    "mix": ("Mix", "混合"),
    "near_sum": ("Near the sum", "与和相近"),
    "shares": ("How like each medium the sum is (cosine)", "和与各媒体的相似度（余弦）"),
    "no_cache": ("This model has no visual cache: no neighbours.", "这个模型没有视觉缓存：没有近邻。"),
    "did_not_work": ("That did not work", "没有成功"),
    "busy": ("One moment: the last reply is not finished.", "请稍候：上一个回答还没完成。"),
    "nothing_said": ("Write something, or attach a file.", "请写点什么，或附上文件。"),
    "dropped": (
        "The conversation is long: its {count} oldest messages were left out.",
        "对话很长：最早的 {count} 条消息被略去了。",
    ),
    "mix_needs": ("Choose at least one medium.", "请至少选一个媒体。"),
    "you": ("You", "你"),
    "nano": ("Model", "模型"),
}


def say(language: str, key: str, **values: object) -> str:
    """The words of ``key`` in ``language`` ("en" or "zh"), with ``values`` put in."""
    return WORDS[key][list(LANGUAGES).index(language)].format(**values)
