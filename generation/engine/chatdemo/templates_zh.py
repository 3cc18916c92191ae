"""Chinese sentences with gaps, and those that are kept from training. Pure data; the gaps are those of `templates_en`."""

PLAIN = (
    "我很{feel}", "我{feel}", "今天很{feel}", "我今天特别{feel}", "我真的很{feel}", "好{feel}", "太{feel}了", "真{feel}啊",
    "{who}很{feel}", "{who}非常{feel}", "{who}看起来很{feel}", "我觉得很{feel}", "我感到{feel}", "心里很{feel}", "心情很{feel}",
    "今天心情很{thing}", "今天心情特别{feel}", "这几天心情{thing}", "{topic}很{thing}", "{topic}太{thing}了", "这个{topic}真{thing}",
    "这次{topic}非常{thing}", "{topic}{thing}极了", "真{thing}的{topic}", "多么{thing}的{topic}", "{thing}的{topic}", "真是太{thing}了",
    "我{verb}这个{topic}", "我很{verb}{topic}", "{who}{verb}这次{topic}", "大家都{verb}{topic}", "我最{verb}{topic}了",
    "这真是{noun}", "{topic}真是{noun}", "这是一次{noun}", "{topic}让我很{feel}", "{topic}让人{feel}", "让我{feel}的{topic}",
    "从来没有这么{feel}过", "没有比这更{thing}的{topic}了", "没想到{topic}这么{thing}", "不知道有多{feel}", "{mood_event}",
    "{mood_event}，好{feel}", "{time}{mood_event}", "{topic}和{topic2}都很{thing}", "一整天都很{feel}", "又{feel}又{feel2}",
    "又{thing}又{thing2}", "{topic}有点{thing}", "我有点{feel}", "{who}说{topic}很{thing}", "{place}的{topic}很{thing}",
    "这个{topic}怎么这么{thing}", "为什么{topic}这么{thing}", "越来越{feel}了", "看完{topic}我很{feel}", "总之很{thing}", "{topic}实在{thing}",
    "{topic}超级{thing}", "说实话{topic}很{thing}", "我们都{feel}得不得了", "生活真{thing}", "{collapse}",
)
PLAIN_HELD_OUT = (
    "这一天过得真{feel}", "{topic}给人的感觉很{thing}", "{who}告诉我{topic}特别{thing}", "昨晚的{topic}相当{thing}",
    "想起{topic}我就{feel}", "{who}一直都很{feel}", "我们学校的{topic}很{thing}", "听到这个我非常{feel}", "我一直{verb}{place}的{topic}",
    "{topic}简直是{noun}", "{mood_event}，心里特别{feel}", "早上起来就很{feel}", "这么{thing}的{topic}很少见", "心情真{thing}",
    "{topic}结束以后大家都很{feel}", "确实很{thing}", "太{thing}了，{collapse}", "这个{topic}太{thing}了，我{feel}",
)
NEGATED = (
    "我不{feel}", "我一点也不{feel}", "我并不{feel}", "{who}不{feel}", "{who}一点都不{feel}", "我没有那么{feel}", "我不再{feel}了",
    "{topic}不{thing}", "{topic}一点也不{thing}", "{topic}并不{thing}", "这个{topic}不怎么{thing}", "{topic}没那么{thing}", "{topic}不算{thing}",
    "谈不上{thing}", "{topic}算不上{thing}", "我不{verb}这个{topic}", "我从来不{verb}{topic}", "{who}不{verb}{topic}", "没有人{verb}{topic}",
    "没人觉得{topic}{thing}", "这不是{noun}", "{topic}哪里{thing}了", "我不觉得{topic}{thing}", "毫不{thing}", "不{thing}", "心里不{feel}了",
    "没什么可{feel}的", "谁也不{feel}", "{topic}既不{thing}也不{thing2}", "不是很{thing}", "不太{thing}", "今天不是很{feel}", "我没有{feel}",
    "这次{topic}不够{thing}", "不能说{topic}很{thing}", "{who}从不{feel}", "{who}不觉得{topic}{thing}", "没有谁觉得{thing}",
    "我其实不{feel}", "{topic}说不上有多{thing}", "没有哪里{thing}", "谁都不{verb}{topic}", "我从来没{feel}过", "{topic}从来不{thing}",
)
NEGATED_HELD_OUT = (
    "今天我一点都不{feel}", "{topic}其实并不{thing}", "我不认为{topic}很{thing}", "{who}从不觉得{topic}{thing}", "我们都不{verb}这次{topic}",
    "{place}的{topic}没有那么{thing}", "现在我不{feel}了", "说不上{thing}", "{topic}根本不{thing}", "没有一个人{feel}",
)
TURN = (
    "虽然{topic}很{other_thing}，但是我很{feel}", "本来以为{topic}会很{other_thing}，结果很{thing}", "开始很{other_feel}，现在很{feel}",
    "{topic}{other_thing}，但{topic2}太{thing}了，我很{feel}", "以前很{other_feel}，如今{feel}了", "尽管{other_thing}，我还是很{feel}",
    "不是{other_thing}，而是{thing}", "起初有点{other_feel}，后来越来越{feel}", "都说{topic}{other_thing}，其实很{thing}",
)
TURN_HELD_OUT = (
    "虽然过程{other_thing}，最后大家都很{feel}", "大家以为{topic}{other_thing}，没想到这么{thing}", "昨天还很{other_feel}，今天却很{feel}",
    "{who}很{other_feel}，我倒很{feel}",
)
NEUTRAL = (
    "{topic}{time}开始", "{topic}在{place}", "{flat_event}", "{time}{flat_event}", "{topic}是{flat}的", "{who}在{place}", "{time}{who}去了{place}",
    "我们{time}在{place}见", "{topic}要两个小时", "{topic}在哪里", "{topic}几点开始", "现在几点", "聊聊天吧", "聊聊{topic}吧", "说说{topic}",
    "{flat}的{topic}", "{place}有多少人", "{who}{time}打电话来", "{time}有{topic}", "{topic}又{flat}又{flat2}", "请把{topic}发给我",
    "我需要一个{flat}的{topic}", "{topic}不在{place}", "{topic}不是{time}开始", "{time}没有{topic}", "{who}不在{place}", "不，{topic}在{time}",
    "{topic}一般般", "{topic}还行", "{topic}还可以", "马马虎虎", "没什么特别的", "不好不坏", "{who}有一个{flat}的{topic}", "能打开{topic}吗",
    "我想{topic}是{time}", "{who}说{topic}是{flat}的", "我在{place}", "{topic}和{topic2}都在{place}", "你知道{topic}吗", "你好", "早上好",
    "好的", "知道了", "我是{state}", "{topic}有四部分", "这个{topic}很{flat}", "说点什么吧", "有什么新闻", "问一下{topic}", "随便问问",
    "随便说说", "我看过这个{topic}", "我的{topic}是{flat}的", "{topic}改到{time}了", "这个{topic}比较{flat}", "{topic}有点{flat}", "今天是{time}",
    "{who}今天去{place}",
)
NEUTRAL_HELD_OUT = (
    "我们学校的{topic}在{place}", "{who}告诉我{topic}是{time}", "昨晚的{topic}在{place}", "下一个{topic}{time}开始", "{topic}相当{flat}",
    "随便聊几句", "这里的{topic}多少钱", "{who}一直在{place}", "听说{topic}在{time}", "不知道{topic}什么时候开始", "{topic}结束以后去{place}",
    "我路过{place}的时候看了{topic}", "给我看看{topic}", "确实是{flat}的", "一共有三个{topic}", "你在{place}吗",
)
FLAT_STATES = "学生|老师|上海人|左撇子|工程师|邻居|第一个|司机|二十岁|新来的"
OPENERS = (
    "我认为", "大家都说", "听说", "看来", "我发现", "说起来", "老实说，", "不得不说，", "我知道", "谁都知道", "嗯，", "其实", "今天", "昨天", "说真的，", "我觉得", "哎，", "那个，", "唉", "哇，",
)
OPENERS_HELD_OUT = ("这次", "总的来说，", "对我来说，", "讲真，")
