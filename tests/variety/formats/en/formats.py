"""A project's own formats, unlike those of any language."""

DATE_FORMAT = SHORT_DATE_FORMAT = r"\d\a\y z \o\f Y"
DATETIME_FORMAT = SHORT_DATETIME_FORMAT = r"z/Y H\hi"
TIME_FORMAT = r"H\hi"
DATE_INPUT_FORMATS = ["%j/%Y"]
TIME_INPUT_FORMATS = ["%Hh%M"]
DATETIME_INPUT_FORMATS = ["%j/%Y %Hh%M"]
DECIMAL_SEPARATOR = "·"
THOUSAND_SEPARATOR = "'"
NUMBER_GROUPING = 2
