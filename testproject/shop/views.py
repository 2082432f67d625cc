from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


@login_required(login_url="admin:login")
def progress(request: HttpRequest) -> HttpResponse:
    response = render(request, "shop/progress.html")
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    return response
