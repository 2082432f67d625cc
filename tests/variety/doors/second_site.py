from django.contrib import admin
from django.urls import path

from . import another_site

urlpatterns = [path("admin/", admin.site.urls), *another_site.urlpatterns]
