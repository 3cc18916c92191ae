"""A tenant's rules for answers: words and patterns that are cut out, or that end the answer.

    patterns.py   the small language of patterns, whose every expression is bounded in length and in work
    rules.py      rules into one expression, with the longest match there can be
    stream.py     text that comes in pieces: what may still become a match is held back
    answer.py     deltas in, deltas out; a filter that fails blocks the answer

Matches ignore case and hold across the borders of chunks: filtering a stream gives what filtering the whole text gives.
"""
