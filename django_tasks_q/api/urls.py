from django.urls import path

from .views import JobDetail, JobList

app_name = "django_tasks_q"

urlpatterns = [
    path("jobs/", JobList.as_view(), name="job-list"),
    # Any text: an id of the wrong form gets the same answer as an unknown one, by the same rules.
    path("jobs/<str:pk>/", JobDetail.as_view(), name="job-detail"),
]
