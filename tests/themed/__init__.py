"""The shop under django-unfold, as its README has it installed."""
