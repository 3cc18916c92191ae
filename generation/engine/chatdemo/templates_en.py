"""English sentences with gaps, and those that are kept from training. Pure data.

Gaps: `feel thing verb verbed noun adverb` are filled with words of the sentence's mood, `other_feel other_thing` with
words of the opposite one, the others without mood. In `NEGATED` the words' mood is the opposite of the sentence's.
"""

PLAIN = (
    "I am {feel}", "I'm {feel}", "I feel {feel}", "I feel so {feel} today", "I am really {feel} about the {topic}",
    "{who} is {feel}", "{who} was very {feel}", "{who} looked {feel} after the {topic}", "the {topic} was {thing}",
    "the {topic} is really {thing}", "the {topic} was so {thing}", "what a {thing} {topic}", "such a {thing} {topic}",
    "I {verb} this {topic}", "I {verbed} the {topic}", "we all {verbed} the {topic}", "I really {verb} the {topic}",
    "the {topic} was a {noun}", "it was a {noun}", "{adverb}, the {topic} starts {time}", "{adverb} {flat_event}",
    "it makes me {feel}", "the {topic} made me {feel}", "everything about the {topic} was {thing}", "this {topic} is {thing}",
    "never before have I been so {feel}", "I have never seen such a {thing} {topic}", "nobody knows how {feel} I am",
    "the {topic} has been {thing} from start to end", "why is the {topic} so {thing}", "how {thing} the {topic} is",
    "{who} thinks the {topic} is {thing}", "the {topic} and the {topic2} were {thing}", "I was {feel} all day",
    "my day was {thing}", "a {thing} day", "so {feel}", "how {feel} I am", "that was {thing}", "I find the {topic} {thing}",
    "I find it {thing}", "{mood_event}", "{mood_event} {time}", "{mood_event}, I am {feel}", "{feel} and {feel2}",
    "the {topic} at {place} was {thing}", "I left {place} {feel}", "we came home {feel}", "this has been a {thing} week",
    "I can't tell you how {feel} I am", "{who} said the {topic} was {thing} and I agree", "{thing}, {thing2} and {thing3}",
    "the {topic} was too {thing} for words", "you {verb} the {topic}, don't you",
    "the {topic} was {thing} as always", "{time} the {topic} was {thing}", "it is {thing} that the {topic} is over",
    "after the {topic} I felt {feel}", "they {verbed} every part of it", "the most {thing} {topic} of my life",
)
PLAIN_HELD_OUT = (
    "I have been {feel} since the {topic}", "to me the {topic} seems {thing}", "today I woke up {feel}",
    "honestly, it was {thing}", "{who} told me that the {topic} was {thing}", "the {topic} we saw was {thing}",
    "I {verb} everything about the {topic}", "most people {verbed} the {topic}", "you have made me so {feel}",
    "the whole {topic} was one big {noun}", "{adverb}, we found {place}", "our {topic} {time} was {thing}",
    "it was the kind of {topic} that leaves you {feel}", "{who} came back {feel} from the {topic}",
    "this must be the most {thing} {topic} ever", "I am {feel} because {flat_event}", "{thing} work with the {topic}",
    "I must say that I was {feel}", "{mood_event} and I am still {feel}", "my {topic} is {thing}, really {thing2}",
)
NEGATED = (
    "I am not {feel}", "I'm not {feel} at all", "I don't feel {feel}", "{who} is not {feel}", "{who} wasn't {feel}",
    "the {topic} was not {thing}", "the {topic} isn't {thing}", "the {topic} wasn't {thing} at all", "it is not {thing}",
    "I don't {verb} this {topic}", "I did not {verb} the {topic}", "we didn't {verb} it", "nobody {verbed} the {topic}",
    "no one was {feel}", "there was nothing {thing} about the {topic}", "the {topic} is far from {thing}",
    "the {topic} was anything but {thing}", "I am no longer {feel}", "I am not {feel} any more", "hardly {thing}",
    "the {topic} was never {thing}", "that is not what I call {thing}", "not {thing}", "not a {thing} {topic}",
    "this is no {noun}", "the {topic} was not a {noun}", "I have no reason to be {feel}", "I can't say that I am {feel}",
    "neither the {topic} nor the {topic2} was {thing}", "I wouldn't call it {thing}", "it was not {thing} and not {thing2}",
    "I don't believe that the {topic} is {thing}", "I don't find the {topic} {thing}", "I doubt that it is {thing}",
    "nothing in the {topic} was {thing}", "nothing of that was {thing}", "not one of us was {feel}", "none of them is {feel}",
    "nobody thinks that the {topic} is {thing}", "{who} is never {feel}", "I would not say that I am {feel}",
    "there is no reason to {verb} it", "this is not a reason to be {feel}", "it did not look {thing}", "without being {feel}",
    "{who} did not find it {thing}", "{who} never {verbed} the {topic}", "we were not {feel} with the {topic}", "not even a little {thing}",
)
NEGATED_HELD_OUT = (
    "I was not {feel} when I left", "nothing about {place} was {thing}", "the {topic} didn't seem {thing} to me",
    "there is no reason for me to feel {feel}", "{who} doesn't {verb} the {topic}", "it isn't a {thing} {topic} at all",
    "today I am not {feel} any more", "I don't think the {topic} was {thing}", "I could not call the {topic} {thing}",
    "none of us {verbed} the {topic}",
)
TURN = (
    "I thought the {topic} would be {other_thing}, but it was {thing}", "the {topic} was {other_thing} but I am {feel}",
    "although the {topic} was {other_thing}, I am {feel}", "I was {other_feel} at first, but now I am {feel}",
    "the {topic} was {other_thing}, but the {topic2} was so {thing} that I forgot it", "at first {other_thing}, then {thing}",
    "I used to be {other_feel}, now I am {feel}", "even though I was {other_feel}, in the end I felt {feel}",
    "it began {other_thing} and ended {thing}", "before that I was {other_feel}, afterwards {feel}", 
    "{who} was {other_feel}, but I am {feel}", "we expected something {other_thing}, and it was {thing}",
    "the beginning was {other_thing}, the end was {thing}", "although {who} thinks it is {other_thing}, I find it {thing}",
    "they said it would be {other_thing}, but it was {thing}", "not {other_thing} but {thing}",
    "it is not {other_thing}, it is {thing}",
)
TURN_HELD_OUT = (
    "everyone expected a {other_thing} {topic}, but it was {thing}", "before the {topic} I was {other_feel}, now I feel {feel}",
    "although {who} was {other_feel}, I am {feel} now", "the {topic} started {other_thing} but in the end it was {thing}",
)
NEUTRAL = (
    "the {topic} starts {time}", "the {topic} is at {place}", "{flat_event}", "{flat_event} {time}", "the {topic} is {flat}",
    "{who} is at {place}", "{who} went to {place} {time}", "we meet at {place} {time}", "is the {topic} {flat}",
    "the {topic} takes two hours", "where is the {topic}", "when does the {topic} start", "the {topic} was {flat}",
    "what time is it", "let's talk", "let's talk about the {topic}", "tell me about the {topic}", "a {flat} {topic}",
    "how many people are at {place}", "there are three rooms on the second floor", "{who} will call {time}",
    "I have a {topic} {time}", "the {topic} was {flat} and {flat2}", "please send me the {topic}", "I need a {flat} {topic}",
    "the {topic} is not at {place}", "the {topic} does not start {time}", "I don't have a {topic} {time}", "it is {flat}",
    "{who} is not at {place}", "no, the {topic} is {time}", "the {topic} is so so", "the {topic} is okay", "it was all right",
    "nothing special, just a {topic}", "neither good nor bad", "{who} has a {flat} {topic}", "could you open the {topic}",
    "I think the {topic} is {time}", "{who} wrote that the {topic} was {flat}", "I am at {place}", "{who} said hello",
    "the {topic} and the {topic2} are at {place}", "do you know the {topic}", "hello", "good morning", "okay", "I see",
    "I am {flat_state}", "{who} was {flat_state} {time}", "the {topic} has four parts", "this {topic} is {flat}",
    "we can chat about {place}", "say something", "any news", "just a question about the {topic}", "as usual, a {topic}",
    "I have seen the {topic}", "my {topic} is {flat}", "the {topic} was moved to {time}", "so a {flat} {topic}",
)
NEUTRAL_HELD_OUT = (
    "the {topic} we saw was {flat}", "our {topic} {time} is at {place}", "{who} told me that the {topic} is {time}",
    "you will find the {topic} at {place}", "most people went to {place}", "the whole {topic} is {flat}",
    "how long is the {topic}", "I was at {place} when {who} called", "today we have a {topic}", "to me it looks {flat}",
    "let's chat a bit", "the next {topic} is {time}", "does {who} know where the {topic} is", "the {topic} costs ten euros",
    "I don't know when the {topic} starts", "the {topic} has a {flat} door",
)
FLAT_STATES = (
    "at home|at work|on the train|twenty years old|in the kitchen|on my way|next door|from Spain|a student|an engineer"
    "|in line|upstairs|by the window|left-handed"
)
OPENERS = (
    "I think that ", "I believe ", "I find that ", "it seems that ", "I must admit that ", "everybody knows that ",
    "as you know, ", "it is true that ", "I can tell you that ", "they say that ", "I noticed that ", "well, ", "so ", "oh, ", "today ", "yesterday ", "you know, ", "to be honest, ", "in my opinion ", "and ", "by the way, ",
)
OPENERS_HELD_OUT = ("hm, ", "this time ", "all in all ", "as for me, ")
"""Before any sentence, now and then."""
