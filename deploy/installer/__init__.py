"""What `deploy/install` does, as a list of steps. Standard library only, Python 3.10: it runs before anything is there.

main.py        arguments; plan, install, uninstall
plan.py        `Step`, and how a list of them is shown and run
machine.py     what this machine is: distribution, packages, GPUs
site.py        what is installed where: options, paths, owners, and our commands in their environment
files.py       files and folders as steps
release.py     steps: release folder, virtual environment, lanes
settings.py    steps: secrets, environment files
services.py    steps: packages, system user, PostgreSQL, Redis or Valkey
units.py       steps: unit files, the `studio` command, static files, migrations, start
firewall.py    nftables: printed and asked
removal.py     `--uninstall`
"""
