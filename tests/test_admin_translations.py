import pytest
from django.apps import apps
from django.test import Client
from django.utils.functional import Promise
from pytest_django.fixtures import Settings

from .admin_support import QUEUES, SCREENS, make_failed, page, staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> Client:
    return staff("view_job", "view_worker", "view_queue", "view_payload_job")


@pytest.mark.parametrize(
    "language, words", [("de", ("Übersicht", "Warteschlange")), ("fr", ("Tableau de bord", "File"))]
)
def test_translations_are_shipped(
    language: str, words: tuple[str, ...], viewer: Client, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = language
    job = make_failed()
    for url in (*SCREENS, page(job)):
        content = viewer.get(url).content.decode()
        assert words[0] in content
        assert ">Dashboard<" not in content
    assert words[1] in viewer.get(QUEUES).content.decode()


def test_names_of_models_and_fields_are_translated_lazily() -> None:
    """Names are marked lazily. Primary keys are Django's, and columns of the histogram are not shown."""
    app = apps.get_app_config("django_tasks_q")
    assert isinstance(app.verbose_name, Promise)
    for model in app.get_models():
        named = [model._meta.verbose_name, model._meta.verbose_name_plural]
        named += [label for _, label in model._meta.permissions]
        named += [
            field.verbose_name
            for field in model._meta.fields
            if not field.primary_key and not field.name.startswith("took_")
        ]
        assert [name for name in named if not isinstance(name, Promise)] == [], model
