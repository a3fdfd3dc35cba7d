// Small conveniences of every page: the theme switch, dialogs, toasts that go away, forms sent once.

const root = document.documentElement;
root.classList.remove("no-js");

const dark = () =>
  (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) ===
  "dark";

function showTheme() {
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.setAttribute("aria-pressed", String(dark()));
  }
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-theme-switch], [data-opens], [data-closes]");
  if (!target) return;
  if ("themeSwitch" in target.dataset) {
    root.dataset.theme = dark() ? "light" : "dark";
    document.cookie = `theme=${root.dataset.theme};path=/;max-age=31536000;samesite=lax`;
    showTheme();
  } else if (target.dataset.opens) {
    document.getElementById(target.dataset.opens)?.showModal();
    event.preventDefault();
  } else {
    target.closest("dialog")?.close();
  }
});

// A second click on a form that is on its way does nothing; the server would not mind it either.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("once" in form.dataset)) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  form.querySelector("[type=submit], button:not([type])")?.setAttribute("aria-busy", "true");
});

addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});

function fadeToasts() {
  for (const toast of document.querySelectorAll(".toast:not([data-fading])")) {
    toast.dataset.fading = "yes";
    setTimeout(() => toast.remove(), 6000);
  }
}

document.addEventListener("htmx:afterSettle", fadeToasts);
showTheme();
fadeToasts();
