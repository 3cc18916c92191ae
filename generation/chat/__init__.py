"""The chat gateway without HTTP doors and tables: read a request, ask an upstream, filter and render its answer.

    request.py    what a request says, frozen; reader.py reads it from bytes (strictjson.py, content.py, tools.py)
    targets.py    upstreams as staff have set them up, and which model of theirs is meant
    upstreams/    one file per kind of server: builds its request, reads its stream into deltas (deltas.py)
    wire/         HTTP/1.1 to upstreams over pooled connections, every size and time bounded
    breaker.py    whether an upstream is asked at all; shared by all processes in Valkey
    slots.py      places at upstreams, and which tenant's turn it is where all are taken
    leases.py     chooses an upstream, and another one where the first gives no answer; refusing.py tells its refusals
    relay.py      asks it for an answer, and records what came of it (record.py); moodasking.py asks it for moods
    asking.py     whether an upstream is well, and which models it has
    books.py      what the gateway asks of the tables; the door brings it
    kept.py       the words of a call, for a tenant that keeps them
    filters/      a tenant's words and patterns, across the borders of chunks
    answers.py    OpenAI's `chat.completion`, and its stream of chunks

Pure asyncio: no ORM, no settings, no torch. `docs/chat.md` tells it in words.
"""
