import pytest
from django.test import Client
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
