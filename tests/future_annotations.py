"""Functions and classes whose annotations are text."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    from nowhere import Missing


@dataclass
class Node:
    amount: Decimal
    children: list[Node] = field(default_factory=list)
    missing: Missing | None = None


class Tree(TypedDict):
    name: str
    branches: list[Tree]


class Priced(TypedDict):
    price: Decimal
    note: NotRequired[str]


def charge(amount: Decimal, missing: Missing, more: list[Missing], any_: Any = None) -> Decimal:
    return amount


def unknown(missing: Missing) -> Missing:
    return missing
