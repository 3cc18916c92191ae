"""The async door: everything that waits (event streams, `Prefer: wait`, OpenAI's images) enters here and nowhere else.

While a request waits it holds no thread, no database connection and no transaction.

    app.py       one request: host check, request id, route, problem answers, log line
    front.py     the door and Django's pages behind one port
    bridge.py    calls Django (WSGI) in bounded threads, which no slow client can hold
    callers.py   credentials -> Caller, cached for seconds (remembered.py)
    database.py  two connections and a handful of statements
    bus.py       the one reader of the Redis stream `qs:bus`
    hub.py       who is told about which generation
    streams.py   server-sent events
    wait.py      POST /api/v1/images with `Prefer: wait=N`
    pictures.py  POST /v1/images/…, OpenAI's: waits, and sends the pictures (imageanswers.py, imagebytes.py)
    chat.py      POST /v1/chat/completions: chatguard.py before it, chatanswers.py after it, chatwatch.py all the while
    books.py     what chat calls cost, in the tables
"""
