"""HTTP/1.1 to upstreams, small and bounded: no redirects, no cookies, no proxies, no decompression.

    bounds.py      the sizes and times
    errors.py      what can go wrong, by whether a byte of the answer had come
    addresses.py   resolves a host, and refuses link-local and metadata addresses
    connection.py  one TCP connection: bytes in, bytes out, a clock that ends it
    head.py        an answer's status line and headers
    body.py        where an answer's body ends: by length, by chunks, by the end of the connection
    client.py      the pool: sends a request, hands out the answer as it comes

Why a client of our own: `docs/decisions/0011-a-small-client-for-upstreams.md`.
"""
