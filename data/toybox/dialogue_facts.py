"""What Toybox knows of its things in words alone, and what it does not hold."""

from __future__ import annotations

#: thing -> (clues, what it is said to do, its kind); "{It} ..." clues stand before "What is it?".
FACTS_ENGLISH = {
    "bell": (("it rings in a tower", "it is made of metal and goes ding dong"), "rings", "an instrument"),
    "drum": (("you beat it with two sticks", "it goes boom boom in a band"), "booms", "an instrument"),
    "bird": (("it has feathers and sings in a tree", "it has wings and lays eggs"), "sings", "an animal"),
    "car": (("it has four wheels and drives on a road", "it has a motor and honks"), "honks", "a vehicle"),
    "clock": (("it has two hands and shows the time", "it goes tick tock"), "ticks", "a device"),
    "rain": (("drops fall from it", "it makes you wet when you have no umbrella"), "patters", "weather"),
    "dog": (("it wags its tail and fetches a stick", "it guards the house and barks"), "barks", "an animal"),
    "cat": (("it purrs and catches mice", "it has whiskers and says meow"), "meows", "an animal"),
    "frog": (("it is green, hops and lives in a pond", "it was a tadpole once and croaks"), "croaks", "an animal"),
    "bee": (("it makes honey", "it flies from flower to flower and buzzes"), "buzzes", "an animal"),
    "train": (("it runs on rails", "it stops at stations and has many wagons"), "chugs", "a vehicle"),
    "phone": (("you call your friends with it", "you hold it to your ear and say hello"), "rings", "a device"),
    "kettle": (("it boils water for tea", "it stands on the stove and whistles"), "whistles", "a device"),
    "fire": (("it is hot and burns wood", "it gives light and warmth and makes smoke"), "crackles", "a flame"),
    "boat": (("it floats on water", "it has a sail and crosses the sea"), "toots", "a vehicle"),
    "siren": (("it warns people of danger", "it howls on an ambulance"), "wails", "a device"),
}
FACTS_CHINESE = {
    "bell": (("它挂在塔上叮当响", "它是金属做的，摇一摇就叮叮响"), "叮当响", "乐器"),
    "drum": (("人们用两根棍子敲它", "它在乐队里咚咚响"), "咚咚响", "乐器"),
    "bird": (("它有羽毛，在树上唱歌", "它有翅膀，会下蛋"), "唱歌", "动物"),
    "car": (("它有四个轮子，在路上跑", "它有发动机，会按喇叭"), "按喇叭", "交通工具"),
    "clock": (("它有两根指针，告诉你时间", "它滴答滴答地走"), "滴答响", "器具"),
    "rain": (("水滴从它那里落下来", "没有伞，它会把你淋湿"), "淅沥沥地响", "天气"),
    "dog": (("它摇尾巴，会捡棍子", "它看家，会汪汪叫"), "汪汪叫", "动物"),
    "cat": (("它会抓老鼠", "它有胡须，会喵喵叫"), "喵喵叫", "动物"),
    "frog": (("它会跳，住在池塘里", "它以前是蝌蚪，会呱呱叫"), "呱呱叫", "动物"),
    "bee": (("它会酿蜜", "它在花间飞，嗡嗡响"), "嗡嗡响", "动物"),
    "train": (("它在铁轨上跑", "它有很多车厢，停在车站"), "况且况且地响", "交通工具"),
    "phone": (("你用它跟朋友通话", "你把它放在耳边说喂"), "铃铃响", "器具"),
    "kettle": (("它用来烧水泡茶", "它在炉子上呜呜叫"), "呜呜叫", "器具"),
    "fire": (("它很热，会烧木头", "它带来光和温暖，还会冒烟"), "噼啪响", "火焰"),
    "boat": (("它浮在水面上", "它有帆，能过海"), "鸣笛", "交通工具"),
    "siren": (("它在有危险时提醒大家", "它在救护车上响"), "呜哇呜哇地响", "器具"),
}

#: Nouns that the world does not hold. The last ten of each are kept from training (pairs="held_out" uses them).
UNKNOWN_ENGLISH = (
    "giraffe", "elephant", "lion", "tiger", "horse", "cow", "pig", "sheep", "rabbit", "mouse", "snake", "fish",
    "shark", "whale", "monkey", "bear", "wolf", "fox", "chicken", "duck", "spider", "butterfly", "dinosaur", "dragon",
    "unicorn", "robot", "house", "castle", "church", "bridge", "tree", "flower", "rose", "mountain", "river", "star",
    "planet", "rocket", "plane", "helicopter", "bicycle", "bus", "truck", "tractor", "windmill", "guitar", "piano",
    "violin", "trumpet", "chair", "table", "lamp", "bed", "book", "computer", "camera", "apple", "banana", "pizza",
    "cake", "hat", "shoe", "shirt", "king", "queen", "man", "woman", "child", "city", "forest", "volcano", "ball",
    "penguin", "camel", "crocodile", "submarine", "sofa", "flute", "sandwich", "umbrella", "wizard", "ladder",
)  # fmt: skip
UNKNOWN_CHINESE = (
    "长颈鹿", "大象", "狮子", "老虎", "马", "牛", "猪", "羊", "兔子", "老鼠", "蛇", "鱼", "鲨鱼", "鲸鱼", "猴子", "熊",
    "狼", "狐狸", "鸡", "鸭子", "蜘蛛", "蝴蝶", "恐龙", "龙", "机器人", "房子", "城堡", "桥", "树", "花", "玫瑰", "山",
    "河", "星星", "火箭", "飞机", "直升机", "自行车", "公交车", "卡车", "吉他", "钢琴", "小提琴", "椅子", "桌子", "灯",
    "床", "书", "电脑", "相机", "苹果", "香蕉", "披萨", "蛋糕", "帽子", "鞋", "衬衫", "国王", "男人", "女人", "孩子",
    "城市", "森林", "火山", "球",
    "企鹅", "骆驼", "鳄鱼", "潜水艇", "沙发", "笛子", "三明治", "雨伞", "巫师", "梯子",
)  # fmt: skip
HELD_OUT_UNKNOWN = 10

UNKNOWN_COLOURS = {
    "en": ("black", "white", "grey", "golden", "silver", "turquoise"),
    "zh": ("黑色", "白色", "灰色", "金色", "银色", "青色"),
}

UNKNOWN_QUESTIONS = {
    "en": (
        "what is the capital of France?", "who wrote Hamlet?", "what is two plus two?", "how old is the universe?",
        "who is the president?", "what is the weather today?", "how far away is the moon?", "when was the war?",
        "what time is it?", "write a poem about love", "tell me a joke", "translate this into German",
        "write a program", "what is the meaning of life?", "how tall is Mount Everest?", "what is the news today?",
        "solve this equation", "who won the match?", "where is Tokyo?", "how do I bake bread?",
    ),
    "zh": (
        "法国的首都是哪里？", "谁写了红楼梦？", "二加二等于几？", "宇宙有多老？", "总统是谁？", "今天天气怎么样？",
        "月亮有多远？", "现在几点？", "写一首诗", "讲个笑话", "把这个翻译成德语", "写一个程序", "生命的意义是什么？",
        "珠穆朗玛峰有多高？", "今天有什么新闻？", "解这个方程", "谁赢了比赛？", "东京在哪里？", "怎么做面包？",
    ),
}  # fmt: skip

DECLINE = {
    "en": "I don't know this. I only know my toy world.",
    "zh": "这个我不认识，我只认识我的玩具世界。",
}

#: What people say to a new acquaintance, and the answer to each.
TALK = {
    "en": (
        (
            ("hello", "hi", "hey", "hello there", "good morning", "good evening", "hi there"),
            "Hello! What shall we look at?",
        ),
        (
            (
                "who are you?",
                "what are you?",
                "what is your name?",
                "introduce yourself",
                "are you a robot?",
                "what's your name?",
            ),
            "I am nextgpt_lite, a small model of a toy world.",
        ),
        (
            (
                "what can you do?",
                "help",
                "how can you help me?",
                "what do you do?",
                "how does this work?",
                "what can I ask?",
            ),
            "I can see, hear, draw, film and play things of my toy world.",
        ),
        (
            (
                "what do you know?",
                "which things do you know?",
                "what is in your world?",
                "what things are there?",
                "tell me about your world",
            ),
            "I know animals, vehicles, instruments, devices, rain and fire.",
        ),
        (
            (
                "thanks",
                "thank you",
                "thank you very much",
                "thanks a lot",
                "great, thanks",
                "nice",
                "well done",
                "very good",
            ),
            "You are welcome!",
        ),
        (("bye", "goodbye", "see you", "good night", "see you later", "bye bye"), "Goodbye!"),
        (("how are you?", "how are you doing?", "are you well?", "how do you feel?"), "I am fine, thank you."),
    ),
    "zh": (
        (("你好", "您好", "嗨", "早上好", "晚上好", "大家好"), "你好！我们看点什么？"),
        (
            ("你是谁？", "你叫什么名字？", "你是什么？", "介绍一下你自己", "你是机器人吗？"),
            "我是nextgpt_lite，一个玩具世界的小模型。",
        ),
        (
            ("你能做什么？", "你会什么？", "帮助", "怎么用？", "我可以问什么？", "你会做什么？"),
            "我会看、会听、会画图、会做视频、会放声音。",
        ),
        (
            ("你知道什么？", "你认识哪些东西？", "你的世界里有什么？", "说说你的世界"),
            "我认识动物、交通工具、乐器、器具、雨和火。",
        ),
        (("谢谢", "谢谢你", "多谢", "非常感谢", "太好了，谢谢", "很好", "真棒"), "不客气！"),
        (("再见", "拜拜", "晚安", "回头见", "下次见"), "再见！"),
        (("你好吗？", "你怎么样？", "最近好吗？"), "我很好，谢谢。"),
    ),
}
