"""What an annotation says: how its values are stored and read back, and whether a value is one of them."""

from .builder import converter_for
from .converters import Converter
from .hints import hints_of_function
from .matching import matches, problem_of

__all__ = ["Converter", "converter_for", "hints_of_function", "matches", "problem_of"]
