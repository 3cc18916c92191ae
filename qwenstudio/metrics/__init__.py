"""`/metrics` in Prometheus' text format (`docs/metrics.md`).

    show.py        everything on one page, at most one look a second
    levels.py      what PostgreSQL knows: queues, workers, errands, connections
    machine.py     what this machine knows: Valkey, the certificate, room on the disks
    requests.py    how pages and API are counted, and by which names
    access.py      who may read it
    middleware.py  the page behind WSGI; `door/front.py` answers it where one process has both doors

What processes count is kept in `accounts/meters`. `manage.py metrics` shows a machine's that runs no pages.
"""
