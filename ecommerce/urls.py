"""Every address of the platform."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from ecommerce.web import pages

urlpatterns = [
    path("", include("ecommerce.api")),
    path("", pages.landing, name="landing"),
    path("admin/", admin.site.urls),
    path("", include("customers.pages")),
    path("", include("analytics.pages")),
    path("", include("ecommerce.console.pages")),
    path("", include("ecommerce.web.metrics")),
]
if not settings.PRODUCTION:
    urlpatterns += [path("design/", pages.design, name="design")]

handler400 = pages.bad_request
handler403 = pages.forbidden
handler404 = pages.not_found
handler500 = pages.failed
