"""The engine: pure Python and torch. It knows no Django, no Redis and no tenants.

`request`, `catalog`, `checkpoint` and `errors` import no torch, so that web processes may use them; the rest is for
the GPU worker.
"""
