from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=100, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    class Status(models.TextChoices):
        CART = "cart"
        PLACED = "placed"
        PAID = "paid"
        EXPIRED = "expired"

    email = models.EmailField()
    status = models.CharField(max_length=8, choices=Status, default=Status.CART)
    created_at = models.DateTimeField(auto_now_add=True)
    paid_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"Order {self.pk}"


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField(default=1)
    price = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product_id}"


class Email(models.Model):
    """A message to send, and the proof that it was sent."""

    recipient = models.EmailField()
    subject = models.CharField(max_length=200)
    body = models.TextField()
    sent_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.subject} to {self.recipient}"


class Image(models.Model):
    """A picture below MEDIA_ROOT, and the thumbnail made of it."""

    file = models.ImageField(upload_to="images")
    thumbnail = models.ImageField(upload_to="thumbnails", blank=True)

    def __str__(self) -> str:
        return self.file.name or ""
