"""The studio's units on one machine: where their files lie, which there are, and how they are started and stopped.

layout.py      every path of an installation, under a root (`/` on a server)
catalog.py     the units of a lane, and which are enabled
unitfile.py    reads unit files, with templates, specifiers and environment files
control.py     `Units`: start, stop, restart, states; `pick_units()` finds who manages them here
systemd.py     … systemctl
supervised.py  … `manage.py up --from-units`: a small service manager, which `control.Supervised` talks to
doorway.py     its socket
instance.py    one of its units, and what that unit's processes say
backoff.py     the pause before a start that follows too many others; runs alone
stopped.py     ends a GPU worker that somebody has stopped; runs alone beside it
"""
