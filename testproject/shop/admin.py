from django.contrib import admin

from .models import Email, Image, Order, OrderLine, Product


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["__str__", "email", "status", "created_at"]
    list_filter = ["status"]
    inlines = [OrderLineInline]


admin.site.register([Email, Image, Product])
