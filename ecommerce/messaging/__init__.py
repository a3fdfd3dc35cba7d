"""The messaging kernel: commands, events, logs, deliveries, effects.

Start reading at `messages` (what is sent), `registry` (who handles it), `bus` (a command now)
and `delivery` (everything else, in batches). The kernel knows no service by name.
"""
