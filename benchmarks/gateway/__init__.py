"""The chat gateway beside LiteLLM's proxy, a bare nginx and the upstream itself, in one run.

upstream.py  a server that answers chat as fast as it can, or a word at a time; it counts what reaches it
load.py      asks over kept connections, checks each answer, keeps the times
studio.py    our door as `studio-stream@.service` runs it, with tables in PostgreSQL and counters in Valkey
peers.py     LiteLLM in an environment of its own, nginx
profile.py   where the door's time goes
__main__.py  rounds in turns, and what they say
"""
