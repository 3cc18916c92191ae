"""Small talk of the demo chat model: who it is, what it can do, and that it can do no more."""

import random
from dataclasses import dataclass

from generation.engine.chatdemo.moods import NEGATIVE, POSITIVE, Sentence, make_sentence


@dataclass(frozen=True)
class Exchange:
    """What somebody says, and the answer."""

    text: str
    answer: str
    language: str
    intent: str
    sentence: Sentence | None = None


ANSWERS = {
    ("hello", "en"): "Hello! I am the demo model. Tell me what you want to see, for example: something red and round.",
    ("hello", "zh"): "你好！我是演示模型。告诉我你想看到什么，比如：一个红色的圆圆的东西。",
    ("who", "en"): "I am the demo model of this studio, a very small one. I turn wishes into prompts for pictures.",
    ("who", "zh"): "我是这里的演示模型，非常小。我把愿望变成画图的提示词。",
    ("thanks", "en"): "You are welcome.",
    ("thanks", "zh"): "不客气。",
    ("bye", "en"): "Goodbye!",
    ("bye", "zh"): "再见！",
    ("positive", "en"): "That is good to hear. Shall I draw something for you?",
    ("positive", "zh"): "真好。要我为你画点什么吗？",
    ("negative", "en"): "I am sorry to hear that. Shall I draw something for you?",
    ("negative", "zh"): "听到这个我很抱歉。要我为你画点什么吗？",
    ("other", "en"): "I am only a demo model: I turn wishes into prompts for pictures. Try: a red house by the sea.",
    ("other", "zh"): "我只是演示模型：我把愿望变成画图的提示词。试试：海边的一座红色的房子。",
}
SAID: dict[tuple[str, str], tuple[str, ...]] = {
    ("hello", "en"): (
        "hello", "hi", "hi there", "hey", "good morning", "good evening", "good afternoon", "hello there", "hello, who is there",
        "hey, are you there", "greetings", "hello demo", "good day", "hi, how are you", "how are you", "how is it going",
    ),
    ("hello", "zh"): (
        "你好", "您好", "你好呀", "嗨", "哈喽", "早上好", "晚上好", "下午好", "你好吗", "在吗", "有人吗", "大家好", "喂", "最近怎么样",
    ),
    ("who", "en"): (
        "who are you", "what are you", "what can you do", "what is this", "are you a person", "are you a robot",
        "what is your name", "introduce yourself", "which model are you", "how can you help me", "what do you know",
        "tell me about yourself", "help", "what should I write", "how does this work",
    ),
    ("who", "zh"): (
        "你是谁", "你是什么", "你会什么", "你能做什么", "这是什么", "你是人吗", "你是机器人吗", "你叫什么名字", "介绍一下你自己",
        "你是什么模型", "你能帮我什么", "怎么用", "帮助", "我该写什么", "说说你自己",
    ),
    ("thanks", "en"): ("thanks", "thank you", "thanks a lot", "thank you very much", "many thanks", "great, thanks", "thank you so much"),
    ("thanks", "zh"): ("谢谢", "多谢", "谢谢你", "非常感谢", "太谢谢了", "谢了", "好的，谢谢"),
    ("bye", "en"): ("bye", "goodbye", "see you", "see you later", "good night", "bye bye", "until tomorrow"),
    ("bye", "zh"): ("再见", "拜拜", "回头见", "晚安", "明天见", "下次见", "我走了"),
}  # fmt: skip
QUESTIONS_EN = (
    "what is the capital of {}", "how do I {}", "write a poem about {}", "explain {}", "tell me a story about {}",
    "who invented {}", "what do you think about {}", "translate {} into French", "how many people live in {}", "why is {} so big",
    "can you {}", "please {}", "tell me about {}", "give me a recipe with {}", "how old is {}", "where can I buy {}",
    "what is {}", "write code that can {}", "what is 12 plus {}", "when was {} founded", "is {} a good idea",
    "summarise the news about {}", "let's talk about {}", "do you know {}", "I want to learn about {}", "who is {}",
)
THINGS_EN = (
    "France|mathematics|the moon|history|computers|music|Japan|football|the weather|cooking|physics|my homework|a bicycle"
    "|this letter|economics|London|birds|python|the internet|chess|medicine|a car|politics|tea|my taxes|7|a loan"
    "|write an essay|solve this equation|book a ticket|repair a clock|bake bread|learn English|count to ten"
)
QUESTIONS_ZH = (
    "{}的首都是哪里", "怎么{}", "写一首关于{}的诗", "解释一下{}", "讲一个关于{}的故事", "谁发明了{}", "你怎么看{}", "把{}翻译成英语",
    "{}有多少人", "{}为什么这么大", "你会{}吗", "请帮我{}", "介绍一下{}", "{}多大了", "哪里能买到{}", "{}是什么", "写一段代码来{}",
    "12加{}等于几", "{}是哪一年成立的", "{}好不好", "总结一下{}的新闻", "聊聊{}", "你知道{}吗", "我想学{}", "{}是谁", "说说{}",
)
THINGS_ZH = (
    "法国|数学|月亮|历史|电脑|音乐|日本|足球|天气|做菜|物理|我的作业|自行车|这封信|经济|伦敦|鸟|编程|互联网|象棋|医学|汽车|政治|茶"
    "|税|七|贷款|写作文|解方程|订票|修钟|烤面包|学英语|数到十"
)


def sample_exchange(rng: random.Random) -> Exchange:
    """One training exchange."""
    language = rng.choice(("en", "zh"))
    intent = rng.choices(("hello", "who", "thanks", "bye", "mood", "other"), (2, 2, 1, 1, 2, 4))[0]
    if intent == "mood":
        return answer_mood(_mood(rng, language))
    if intent == "other":
        text = _question(rng, language)
    else:
        text = rng.choice(SAID[intent, language])
    return Exchange(_dress(text, language, rng), ANSWERS[intent, language], language, intent)


def answer_mood(sentence: Sentence) -> Exchange:
    """What the model says to somebody who tells how they feel."""
    answer = ANSWERS[sentence.mood, sentence.language]
    return Exchange(sentence.text, answer, sentence.language, sentence.mood, sentence)


def _mood(rng: random.Random, language: str) -> Sentence:
    return make_sentence(
        rng, kind=rng.choice(("plain", "plain", "negated")), mood=rng.choice((POSITIVE, NEGATIVE)), language=language
    )


def _question(rng: random.Random, language: str) -> str:
    patterns, things = (QUESTIONS_EN, THINGS_EN) if language == "en" else (QUESTIONS_ZH, THINGS_ZH)
    return rng.choice(patterns).format(rng.choice(things.split("|")))


def _dress(text: str, language: str, rng: random.Random) -> str:
    if language == "zh":
        return text + rng.choice(("", "", "？", "?", "。", "！"))
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("", "", "?", "!", "."))
