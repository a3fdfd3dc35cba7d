"""Who calls: tenants, users, API tokens and their scopes.

Start at `models`; `tenants` answers what a service needs to know of its tenant.
"""
