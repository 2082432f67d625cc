from django.db import models


class Effect(models.Model):
    """A trace that a task leaves, to be counted."""

    key = models.CharField(max_length=100)
    pid = models.IntegerField()

    def __str__(self) -> str:
        return self.key
