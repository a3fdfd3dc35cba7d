"""Accounts: sign up, in and out, and what we know of somebody."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from customers import queries
from customers.contracts import AddToCart, CartLine, EmptyCart, SaveContact
from customers.forms import ContactForm, NoticesForm, SignInForm, SignUpForm
from customers.models import Cart, Customer
from ecommerce.identity import tenants
from ecommerce.identity.models import User
from ecommerce.messaging import bus, tenancy
from ecommerce.messaging.bus import IdempotencyRequest, Response
from ecommerce.messaging.errors import Refused
from ecommerce.messaging.models import uuid7

from .visitor import CART, GUEST, Visitor, show, visitor

READS_AND_WRITES = ["GET", "HEAD", "POST"]


@sensitive_post_parameters("password")
@require_http_methods(READS_AND_WRITES)
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in; the guest's cart comes along."""
    form = SignInForm(request, request.POST or None)
    if request.method != "POST" or not form.is_valid():
        facts = {"form": form, "next": request.POST.get("next") or request.GET.get("next", "")}
        return show(request, "sign_in", facts, status=422 if form.is_bound else 200)
    _enter(request, form.get_user())
    return redirect(_next(request))


@sensitive_post_parameters("password")
@require_http_methods(READS_AND_WRITES)
def sign_up(request: HttpRequest) -> HttpResponse:
    """Make an account; what the guest ordered and put into the cart is theirs."""
    form = SignUpForm(request.POST or None)
    user = _make(request, form) if form.is_valid() else None
    if user is None:
        facts = {"form": form, "next": request.POST.get("next") or request.GET.get("next", "")}
        return show(request, "sign_up", facts, status=422 if form.is_bound else 200)
    _enter(request, user)
    messages.success(request, f"Welcome, {user.first_name}.")
    return redirect(_next(request))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out."""
    logout(request)
    return redirect("shop")


@login_required(login_url="shop-sign-in")
@require_http_methods(READS_AND_WRITES)
def account(request: HttpRequest) -> HttpResponse:
    """Contacts and address, and what they want to be told."""
    who = visitor(request)
    if not who.customer_id:
        return show(request, "account", {"form": None})
    known = queries.profile(who.tenant, who.customer_id)
    form = ContactForm(request.POST or None, initial=ContactForm.known(known))
    if request.method != "POST" or not form.is_valid():
        return _account(request, form, _notices(known))
    bus.execute(form.command(who.customer_id), tenant=who.tenant, actor=who.actor)
    messages.success(request, "Saved.")
    return redirect("shop-account")


@login_required(login_url="shop-sign-in")
@require_POST
def choose_notices(request: HttpRequest) -> HttpResponse:
    """Set what a customer wants to be told."""
    who = visitor(request)
    known = queries.profile(who.tenant, who.customer_id)
    if known is None:
        raise Http404
    form = NoticesForm(request.POST)
    if not form.is_valid():
        return _account(request, ContactForm(initial=ContactForm.known(known)), form)
    command = form.command(who.customer_id, tenants.zone_of(who.tenant).key)
    bus.execute(command, tenant=who.tenant, actor=who.actor)
    messages.success(request, "Saved.")
    return redirect("shop-account")


def _notices(known: Customer | None) -> NoticesForm | None:
    """For those whom the shop knows."""
    return NoticesForm(initial=NoticesForm.known(known)) if known else None


def _account(request: HttpRequest, form: ContactForm, notices: NoticesForm | None) -> HttpResponse:
    refused = form.is_bound or bool(notices and notices.is_bound)
    facts = {"form": form, "notices": notices}
    return show(request, "account", facts, status=422 if refused else 200)


def _make(request: HttpRequest, form: SignUpForm) -> User | None:
    """A user, and the customer that they are: the one that they were as a guest, if they ordered.
    None when somebody else was faster to take the address."""
    given = form.cleaned_data
    guest = request.session.get(GUEST, "")
    if guest and User.objects.filter(customer_id=guest).exists():
        guest = ""
    tenant = tenants.default()
    customer_id = guest or f"cust-{uuid7()}"
    try:
        user = User.objects.create_user(
            username=customer_id,
            email=given["email"],
            password=given["password"],
            first_name=given["name"][:150],
            customer_id=customer_id,
            email_login=True,
            tenant_id=tenant,
        )
    except IntegrityError:
        form.add_error("email", "There is an account with this address. Sign in instead.")
        return None
    known = queries.profile(tenant, customer_id)
    if known is None or known.guest:
        command = SaveContact(customer_id=customer_id, name=given["name"], email=given["email"])
        bus.execute(command, tenant=tenant, actor=f"user:{user.pk}")
    return user


def _enter(request: HttpRequest, user: User) -> None:
    """Sign in, and move what the guest has in the cart into the customer's."""
    before = visitor(request)
    left = before.cart()
    login(request, user)
    request.session.pop(GUEST, None)
    if request.session.pop(CART, None) and left and left.lines and user.customer_id:
        with tenancy.acting_for(str(user.tenant_id)):
            _move(left, before, visitor(request))


def _move(left: Cart, before: Visitor, now: Visitor) -> None:
    """Once, however often it is tried: the guest's cart is the key."""
    lines = tuple(CartLine(product_id, count) for product_id, count in left.quantities.items())
    content = str(uuid.uuid5(uuid.NAMESPACE_OID, repr(left.lines)))
    once = IdempotencyRequest(now.actor, "shop merge", left.cart_id, content)
    try:
        command = AddToCart(cart_id=now.cart_id, lines=lines)
        bus.execute(
            command,
            tenant=now.tenant,
            actor=now.actor,
            idempotency=once,
            respond=lambda _: Response(204, {}, ""),
        )
        bus.execute(EmptyCart(cart_id=left.cart_id), tenant=before.tenant, actor=before.actor)
    except Refused:
        return


def _next(request: HttpRequest) -> str:
    wanted = request.POST.get("next", "")
    return wanted if url_has_allowed_host_and_scheme(wanted, None) else "/shop/"
