// The dashboard while it is live: fetched anew when something was sold, at most once in PAUSE, and
// once in a while as long as orders are under way. Tables that were open stay open.

const PAUSE = 3000;
const WHILE_UNDER_WAY = 15000;
const live = document.getElementById("live");
let last = 0;
let waiting = 0;

function refresh() {
  waiting = 0;
  if (document.hidden) return;
  last = Date.now();
  htmx.trigger(live, "refresh");
}

function soon() {
  waiting ||= setTimeout(refresh, Math.max(0, last + PAUSE - Date.now()));
}

if (live) {
  let open = [];
  live.addEventListener("live", soon);
  document.addEventListener("visibilitychange", () => document.hidden || soon());
  setInterval(() => Number(document.getElementById("figures").dataset.underWay) && soon(), WHILE_UNDER_WAY);
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    // Whoever is not signed in any more is asked to; whatever else it says, the figures stay.
    detail.shouldSwap = detail.xhr.responseText.includes('id="figures"');
    if (!detail.shouldSwap && detail.xhr.status < 500) location.reload();
    open = [...document.querySelectorAll("#figures details[open]")].map((each) => each.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  });
}
