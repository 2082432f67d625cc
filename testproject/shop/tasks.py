"""What the shop leaves to its workers."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from smtplib import SMTPException
from typing import Any

import PIL.Image
from django.core.files.base import ContentFile
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Count, DecimalField, F, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from django_tasks_q import Backoff, task

from .models import Email, Image, Order, Product


class OutOfStock(Exception):
    pass


@task(dont_retry_on=[OutOfStock])
def process_order(order_id: int) -> dict[str, Any]:
    """Take an order's goods from stock, mark it as paid and confirm it: all of it or nothing."""
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=order_id)
        # A task may run again after a crash that came too late to undo it.
        if order.status == Order.Status.PAID:
            return {"order": order.pk, "status": order.status}
        for line in order.lines.select_related("product"):
            in_stock = Product.objects.filter(pk=line.product_id, stock__gte=line.quantity)
            if not in_stock.update(stock=F("stock") - line.quantity):
                raise OutOfStock(f"{line.product} × {line.quantity}")
        order.status = Order.Status.PAID
        order.paid_at = timezone.now()
        order.save(update_fields=["status", "paid_at"])
        email = Email.objects.create(
            recipient=order.email, subject=f"Your order {order.pk}", body="Thank you. It is on its way."
        )
        send_email.enqueue(email.pk)
    return {"order": order.pk, "status": order.status, "email": email.pk}


@task(
    queue_name="emails",
    max_attempts=5,
    retry_on=[SMTPException, ConnectionError],
    backoff=Backoff.exponential(base=1, maximum=300),
    timeout=30,
)
def send_email(email_id: int) -> int:
    """Send one message. Answers how many were sent: none if that was done before."""
    email = Email.objects.get(pk=email_id)
    if email.sent_at:
        return 0
    sent = send_mail(email.subject, email.body, None, [email.recipient])
    email.sent_at = timezone.now()
    email.save(update_fields=["sent_at"])
    return sent


@task(queue_name="reports", priority=-10)
def sales_report(days: int = 30) -> dict[str, dict[str, Any]]:
    """Orders paid on each of the last days, and what they brought in."""
    revenue = Sum(F("lines__quantity") * F("lines__price"), output_field=DecimalField())
    rows = (
        Order.objects.filter(status=Order.Status.PAID, paid_at__gte=timezone.now() - timedelta(days=days))
        .annotate(day=TruncDate("paid_at"))
        .values("day")
        .annotate(orders=Count("pk", distinct=True), revenue=revenue)
        .order_by("day")
    )
    return {row["day"].isoformat(): {"orders": row["orders"], "revenue": str(row["revenue"])} for row in rows}


@task(queue_name="images", timeout=60)
def make_thumbnail(image_id: int, size: int = 128) -> list[int]:
    """Shrink a picture to fit a square. Answers the width and height of the result."""
    image = Image.objects.get(pk=image_id)
    buffer = BytesIO()
    with image.file.open() as source, PIL.Image.open(source) as picture:
        picture.thumbnail((size, size))
        picture.convert("RGB").save(buffer, "JPEG")
        dimensions = list(picture.size)
    image.thumbnail.save(f"{Path(image.file.name).stem}.jpg", ContentFile(buffer.getvalue()))
    return dimensions


@task
async def expire_carts(hours: float = 24) -> int:
    """Give up carts that nobody came back to. Answers how many."""
    stale = Order.objects.filter(
        status=Order.Status.CART, created_at__lt=timezone.now() - timedelta(hours=hours)
    )
    return await stale.aupdate(status=Order.Status.EXPIRED)


@task(queue_name="prices", takes_context=True, api=True)
def change_prices(context: Any, percent: int) -> int:
    """Change the price of every product, a row at a time. Answers how many."""
    products = list(Product.objects.order_by("pk"))
    for product in context.progress(products, message="products"):
        Product.objects.filter(pk=product.pk).update(price=F("price") * (100 + percent) / 100)
        context.sleep(0.05)
    return len(products)
