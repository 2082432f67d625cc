"""Django's own tests of its Tasks framework, run on the package's backends.

``python -m tests.django_suite`` downloads Django's source distribution by pip, takes ``tests/tasks`` out of
it, and has these backends stand in for those that the tests name.
"""
