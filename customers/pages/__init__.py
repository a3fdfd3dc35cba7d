"""The shop: pages for people, drawn by the server. They work without JavaScript, but for what is
live."""

from __future__ import annotations

from django.urls import path

from . import account, cart, catalogue, checkout, orders

urlpatterns = [
    path("shop/", catalogue.shelves, name="shop"),
    path("shop/products/<product_id>", catalogue.product, name="shop-product"),
    path("shop/cart", cart.cart, name="shop-cart"),
    path("shop/cart/add", cart.add, name="shop-cart-add"),
    path("shop/cart/quantity", cart.set_quantity, name="shop-cart-quantity"),
    path("shop/checkout", checkout.checkout, name="shop-checkout"),
    path("shop/orders", orders.history, name="shop-orders"),
    path("shop/orders/<order_id>", orders.order, name="shop-order"),
    path("shop/orders/<order_id>/cancel", orders.cancel, name="shop-order-cancel"),
    path("shop/orders/<order_id>/again", orders.again, name="shop-order-again"),
    path("shop/account", account.account, name="shop-account"),
    path("shop/account/notices", account.choose_notices, name="shop-account-notices"),
    path("shop/sign-in", account.sign_in, name="shop-sign-in"),
    path("shop/sign-up", account.sign_up, name="shop-sign-up"),
    path("shop/sign-out", account.sign_out, name="shop-sign-out"),
]
