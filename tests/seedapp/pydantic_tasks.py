"""For who has pydantic installed: it is imported by the tests that need it, and by no other."""

from decimal import Decimal

from pydantic import BaseModel

from django_tasks_q import task


class Line(BaseModel):
    price: Decimal
    quantity: int


class Order(BaseModel):
    lines: list[Line]


@task(name="seed.total")
def total(order: Order) -> str:
    return str(sum(line.price * line.quantity for line in order.lines))
