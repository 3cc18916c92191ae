"""All routes."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView

from accounts.api import converters  # noqa: F401  (registers <id:…>)
from accounts.api.views import NoSuchRoute
from accounts.web.files import serve_export, serve_logo
from accounts.web.signin import admin_sign_in
from generation.web.files import serve_file, serve_input, serve_receipt, serve_thumbnail, serve_zip
from qwenstudio.apidocs import docs_page, schema
from qwenstudio.health import healthz, readyz
from qwenstudio.staffsite import leave_out_foreign

leave_out_foreign()

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("api/v1/", include("accounts.api.urls")),
    path("api/v1/", include("generation.api.urls")),
    path("api/schema/", schema, name="api-schema"),
    path("api/docs/", docs_page, name="api-docs"),
    re_path(r"^api/", NoSuchRoute.as_view()),
    path("v1/", include("generation.api.openai.urls")),
    re_path(r"^v1/", NoSuchRoute.as_view()),
    path("files/logos/<id:tenant>/<str:name>", serve_logo, name="logo"),
    path("files/exports/<id:export>", serve_export, name="export-file"),
    path("files/zips/<id:zip>", serve_zip, name="zip-file"),
    path("files/inputs/<id:input>", serve_input, name="input-file"),
    path("files/<id:image>", serve_file, name="file"),
    path("files/<id:image>/thumbnail", serve_thumbnail, name="thumbnail"),
    path("files/<id:image>/receipt", serve_receipt, name="receipt"),
    path("", include("accounts.web.urls")),
    path("", include("generation.web.urls")),
    path("admin/login/", admin_sign_in),  # before the admin's own
    re_path("^admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", include("generation.staff.now")),
    path("", include("generation.staff.switch")),
    path("admin/", admin.site.urls),
]
