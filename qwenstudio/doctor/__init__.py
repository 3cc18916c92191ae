"""Looks at everything a studio needs and says what is missing and what to do about it: `manage.py doctor`.

Each check asks the real thing (a new connection as each role, a file written, a checkpoint's files read, the mail
server signed in to) and yields findings; one that finds nothing wrong says what it saw. Nothing is changed. One file
for each area; this table is the order of the report.
"""

from __future__ import annotations

from qwenstudio.doctor.backups import check_backups
from qwenstudio.doctor.basics import check_clock, check_guard, check_settings
from qwenstudio.doctor.certificates import check_certificates
from qwenstudio.doctor.database import check_connections, check_database, check_pooler
from qwenstudio.doctor.finding import Check, Finding
from qwenstudio.doctor.gpu import SMI_S, TORCH_S, check_cards, check_device
from qwenstudio.doctor.lanes import check_lanes
from qwenstudio.doctor.mailserver import check_mail
from qwenstudio.doctor.models import check_models
from qwenstudio.doctor.nginx import check_nginx
from qwenstudio.doctor.ports import check_ports
from qwenstudio.doctor.room import check_disks, check_memory, check_storage
from qwenstudio.doctor.units import check_units
from qwenstudio.doctor.upstreams import check_upstreams
from qwenstudio.doctor.valkey import check_redis
from qwenstudio.doctor.work import check_errands, check_workers

__all__ = ["CHECKS", "Finding"]

CHECKS: dict[str, Check] = {
    "settings": Check("settings", check_settings),
    "guard": Check("settings", check_guard, patience_s=45),
    "clock": Check("machine", check_clock),
    "database": Check("database", check_database, patience_s=45),
    "connections": Check("database", check_connections),
    "pooler": Check("database", check_pooler, patience_s=45),
    "redis": Check("redis", check_redis),
    "storage": Check("room", check_storage),
    "disks": Check("room", check_disks),
    "memory": Check("room", check_memory),
    "backups": Check("room", check_backups),
    "models": Check("GPU", check_models, patience_s=60),
    "device": Check("GPU", check_device, patience_s=TORCH_S + 5),
    "cards": Check("GPU", check_cards, patience_s=SMI_S + 5),
    "workers": Check("work", check_workers),
    "lanes": Check("work", check_lanes, patience_s=45),
    "errands": Check("work", check_errands),
    "upstreams": Check("network", check_upstreams, patience_s=45),
    "mail": Check("network", check_mail, patience_s=45),
    "nginx": Check("network", check_nginx, patience_s=45),
    "certificates": Check("network", check_certificates),
    "ports": Check("network", check_ports),
    "units": Check("units", check_units, patience_s=45),
}
