"""What Relève runs on a service host: saves it, restores it, and tells how it is.

Standard library only, and no import from the rest of Relève: this folder is placed on hosts as it
is. What there is to save stands in /etc/releve/plan.json, as argv arrays; nothing here ever builds
a line for a shell. See docs/architecture.md, "On a service host".

Which module may import which stands in pyproject.toml.
"""
