"""The tables of chat, for the gateway, staff and tenants; `generation/chat` itself knows none of them.

    calls.py         a call's reserve and settle: what the functions of the database take, and what their answers mean
    offers.py        upstreams, models and grants, as the gateway reads them in one statement
    upstreams.py     rows of upstreams: checked as the gateway will read them, credentials sealed
    upstreamfile.py  deploy/upstreams.toml; loading.py writes it into the tables
    sampling.py      what a model's own sampling may be
    breakers.py      the breakers as pages show them
    rules.py         a tenant's rules for answers

The async door runs these statements over its own connections (`qwenstudio/door/books.py`).
"""
