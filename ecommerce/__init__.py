"""The platform: the kernel, identity, the console, and the composition root that joins the services.

Imports nothing, so that every command starts quickly; the Celery application is in `ecommerce.celery`.
"""
