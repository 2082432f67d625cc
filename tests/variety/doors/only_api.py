from django.urls import include, path

urlpatterns = [path("api/tasks/", include("django_tasks_q.api.urls"))]
