"""What the shop of the pictures does: much goes well, some goes wrong, each in its own way."""

import logging
import os
import random
import signal
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

from django_tasks_q import task

log = logging.getLogger("shop.import")
log.setLevel(logging.INFO)


class PaymentDeclined(Exception):
    """The bank says no."""


@task(name="shop.send_receipt", queue_name="emails", max_attempts=4, backoff=0.2, tags=["mail"])
def send_receipt(order: int, to: str) -> str:
    """Send the receipt of an order."""
    time.sleep(random.uniform(0, 0.05))
    if order % 9 == 0:
        raise ConnectionError(f"smtp.example.com did not answer for order {order}")
    return f"sent to {to}"


@task(name="shop.charge_card", queue_name="payments", priority=50, tags=["money"])
def charge_card(order: int, amount: str, card_token: str = "") -> dict[str, Any]:
    """Charge the card of an order."""
    time.sleep(random.uniform(0, 0.1))
    if order % 7 == 0:
        raise PaymentDeclined(f"order {order}: insufficient funds ({card_token})")
    if order % 31 == 0:
        raise TimeoutError("gateway timed out after 30 s")
    return {"order": order, "charged": amount}


@task(name="shop.resize_image", queue_name="images", timeout=1)
def resize_image(path: str, width: int = 320) -> list[int]:
    """Shrink a picture."""
    if path.endswith("7.png"):
        os.kill(os.getpid(), signal.SIGKILL)
    if path.endswith("3.png"):
        time.sleep(60)
    return [width, width * 3 // 4]


@task(
    name="shop.import_catalogue",
    queue_name="imports",
    takes_context=True,
    capture_logs="INFO",
    tags=["nightly", "catalogue"],
    metadata={"team": "catalogue"},
)
def import_catalogue(context: Any, supplier: str, rows: int = 400, seconds: float = 600) -> int:
    """Read the catalogue of a supplier, row by row."""
    for row in range(rows):
        context.set_progress(row, rows, message=f"row {row} of {rows}")
        if row % 50 == 0:
            log.info("read %d rows of %s", row, supplier)
        if row % 120 == 119:
            log.warning("row %d has no price", row)
        time.sleep(seconds / rows)
    return rows


@task(name="shop.close_day", queue_name="reports", takes_context=True)
def close_day(context: Any, day: str) -> int:
    """Book the day, and send what follows from it."""
    for order in range(1, 4):
        send_receipt.enqueue(order, f"customer{order}@example.com")
    return 3


@task(name="shop.retry_supplier", queue_name="imports", max_attempts=6, backoff=3600)
def retry_supplier(supplier: str) -> None:
    """Ask a supplier again, an hour later each time."""
    raise ConnectionRefusedError(f"{supplier} refuses connections")


@task(name="shop.refund", queue_name="payments", admin=True, tags=["money"])
def refund(
    order: int,
    reason: Literal["damaged", "late", "unwanted"],
    amount: float = 10.0,
    on: date | None = None,
    wait: timedelta = timedelta(0),
    lines: list[int] = [],  # noqa: B006
    card_token: str = "",
    notify: bool = True,
) -> str:
    """Give a customer money back."""
    return f"refunded {amount:.2f} of order {order}: {reason}"


@task(name="shop.fail_unless")
def fail_unless(path: str) -> str:
    """Fail, until somebody makes a file."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} is missing")
    return "mended"


@task(name="shop.wait_for", queue_name="default", admin=True)
def wait_for(seconds: float) -> str:
    """Take that long."""
    time.sleep(seconds)
    return "waited"
